"use strict";
// Draws the part of a simulation that is looked at. All that is known is in the element `data`.

const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const [lanes, overview, tip, list] = ["lanes", "overview", "tip", "list"].map(find);

const GUTTER = 96;  // Where the names of the hosts stand.
const AXIS = 22;    // Where the times stand.
const HEAD = 20;    // A lane's own row, with what happens at its host.
const ROW = 13;     // A row of bars below it.
const MOST = 400;   // So many lines the list has at most.
const CROWDED = 2500; // More messages than that are a fog; then only those are drawn that got lost.

// Where each lane begins, and how high all are together.
const tops = [];
let height = AXIS;
for (const [, rows] of data.hosts) {
  tops.push(height);
  height += HEAD + rows * ROW + 8;
}

const end = Math.max(data.end_ms, 1);
const view = { from: 0, to: end };
let hits = [];      // What is drawn where, for the pointer.
let chosen = null;  // The moment that was clicked.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name);
const seconds = (ms) => (ms / 1000).toFixed(3);

// Gives a canvas as many pixels as the screen has for it.
function prepare(canvas, high) {
  const scale = window.devicePixelRatio || 1;
  canvas.style.height = high + "px";
  const wide = canvas.clientWidth;
  canvas.width = Math.round(wide * scale);
  canvas.height = Math.round(high * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, wide, high);
  return [pen, wide];
}

function draw() {
  const [pen, wide] = prepare(lanes, height);
  const span = view.to - view.from;
  const x = (ms) => GUTTER + ((ms - view.from) / span) * (wide - GUTTER);
  hits = [];
  drawTimes(pen, x, wide);
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, 0, wide - GUTTER, height);
  pen.clip();
  const unseen = find("messages").checked ? drawMessages(pen, x) : 0;
  drawBars(pen, x);
  drawMoments(pen, x);
  pen.restore();
  drawHosts(pen, wide);
  drawOverview();
  const fog = unseen > 0 ? `; look nearer to see ${unseen} messages` : "";
  find("range").textContent =
    `${seconds(view.from)} s to ${seconds(view.to)} s of ${seconds(end)} s${fog}`;
  fillList();
}

// Lines at round times, about ten of them.
function drawTimes(pen, x, wide) {
  const rough = (view.to - view.from) / 10;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough));
  pen.font = "11px system-ui";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(x(at), AXIS - 4);
    pen.lineTo(x(at), height);
    pen.stroke();
    pen.fillStyle = colour("faint");
    pen.textAlign = "center";
    if (x(at) > GUTTER && x(at) < wide - 20) pen.fillText(at / 1000 + " s", x(at), 12);
  }
  pen.textAlign = "left";
}

function drawHosts(pen, wide) {
  data.hosts.forEach(([name], lane) => {
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(0, tops[lane] - 4);
    pen.lineTo(wide, tops[lane] - 4);
    pen.stroke();
    pen.fillStyle = colour("ink");
    pen.font = "600 13px system-ui";
    pen.fillText(name, 6, tops[lane] + 13);
  });
}

const THICK = { up: 4, down: 12, ail: 5 };

function drawBars(pen, x) {
  pen.font = "10px system-ui";
  for (const bar of data.bars) {
    if (bar.to_ms < view.from || bar.from_ms > view.to) continue;
    const own = bar.row === 0;
    const thick = own ? THICK[bar.kind] : ROW - 2;
    const left = Math.max(x(bar.from_ms), GUTTER);
    const right = Math.max(x(bar.to_ms), left + 1.5);
    let top = tops[bar.host] + (own ? HEAD - thick - 1 : HEAD + (bar.row - 1) * ROW);
    if (bar.kind === "ail") top -= 5;
    pen.fillStyle = colour(bar.kind);
    pen.globalAlpha = bar.kind === "down" ? 0.55 : 0.8;
    pen.fillRect(left, top, right - left, thick);
    pen.globalAlpha = 1;
    const said = own ? "" : bar.what;
    if (said && right - left > pen.measureText(said).width + 6) {
      pen.fillStyle = "#000";
      pen.fillText(said, left + 3, top + 9);
    }
    const times = `${seconds(bar.from_ms)} s to ${seconds(bar.to_ms)} s`;
    hits.push({ left, right, top: top - 2, low: top + thick + 2,
                text: `${data.hosts[bar.host][0]} ${bar.what}\n${times}` });
  }
}

// The middle of a lane's own row, from which messages go and at which they arrive.
const middle = (lane) => tops[lane] + HEAD / 2;

// Answers how many are not drawn because there are too many.
function drawMessages(pen, x) {
  const idle = find("idle").checked;
  const all = data.messages.filter(([, , sent, arrived, , dull]) =>
    (idle || !dull) && (arrived ?? sent + 50) >= view.from && sent <= view.to);
  const shown = all.length > CROWDED ? all.filter((message) => message[3] === null) : all;
  const faint = Math.min(1, Math.max(0.25, 400 / shown.length));
  for (const [from, to, sent, arrived, what] of shown) {
    const gone = arrived === null;
    const [left, top] = [x(sent), middle(from)];
    const right = gone ? left + 6 : x(arrived);
    const low = gone ? top + Math.sign(to - from) * 12 : middle(to);
    pen.strokeStyle = colour(gone ? "fault" : "message");
    pen.globalAlpha = gone ? 1 : faint;
    pen.beginPath();
    pen.moveTo(left, top);
    pen.lineTo(right, low);
    pen.stroke();
    pen.globalAlpha = 1;
    const names = `${data.hosts[from][0]} to ${data.hosts[to][0]}: ${data.words[what]}`;
    const times = gone ? `sent ${seconds(sent)} s, and never arrived`
                       : `sent ${seconds(sent)} s, arrived ${seconds(arrived)} s`;
    hits.push({ line: [left, top, right, low], text: `${names}\n${times}` });
  }
  return all.length - shown.length;
}

function drawMoments(pen, x) {
  const labels = [];  // What the world does, where it is said.
  pen.font = "11px system-ui";
  for (const moment of data.moments) {
    const [at, host, kind, text] = moment;
    if (at < view.from || at > view.to) continue;
    const [left, top] = [x(at), tops[host]];
    pen.fillStyle = colour(kind);
    if (host === 0 || kind === "fault") {
      // What the world does is seen across all lanes.
      pen.globalAlpha = kind === "fault" ? 0.35 : 0.12;
      pen.fillRect(left, AXIS - 4, 1, height);
      pen.globalAlpha = 1;
      pen.beginPath();
      pen.moveTo(left, top + 2);
      pen.lineTo(left + 8, top + 6);
      pen.lineTo(left, top + 10);
      pen.fill();
      if (host === 0) labels.push([left, text.replace("FAULT ", "").replace("mark: ", "")]);
    } else {
      pen.fillRect(left - 1, top + 3, 2, kind === "process" ? 6 : 11);
    }
    if (moment === chosen) {
      pen.strokeStyle = colour("leads");
      pen.lineWidth = 2;
      pen.strokeRect(left - 5, top, 10, HEAD);
      pen.lineWidth = 1;
    }
    hits.push({ left: left - 3, right: left + 5, top, low: top + 14, moment,
                text: `${data.hosts[host][0]} at ${seconds(at)} s\n${text}` });
  }
  pen.fillStyle = colour("ink");
  labels.forEach(([left, said], index) => {
    const [next] = labels[index + 1] ?? [Infinity];
    let shown = said;
    while (shown && left + 12 + pen.measureText(shown).width > next) shown = shown.slice(0, -4);
    if (shown) pen.fillText(shown === said ? said : shown + "…", left + 10, tops[0] + 10);
  });
}

function drawOverview() {
  const [pen, wide] = prepare(overview, 34);
  const x = (ms) => GUTTER + (ms / end) * (wide - GUTTER);
  pen.fillStyle = colour("faint");
  pen.font = "11px system-ui";
  pen.fillText("all of it", 6, 21);
  for (const [at, , kind] of data.moments) {
    const fault = kind === "fault";
    pen.fillStyle = colour(fault ? "fault" : "process");
    pen.globalAlpha = fault ? 1 : 0.15;
    pen.fillRect(x(at), fault ? 2 : 14, 1, fault ? 30 : 12);
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("leads");
  pen.lineWidth = 2;
  pen.strokeRect(x(view.from), 1, Math.max(3, x(view.to) - x(view.from)), 32);
  pen.lineWidth = 1;
}

function fillList() {
  const sought = find("sought").value.toLowerCase();
  const rows = document.createDocumentFragment();
  let count = 0;
  for (const moment of data.moments) {
    const [at, host, kind, text] = moment;
    if (at < view.from || at > view.to) continue;
    const cells = [seconds(at), data.hosts[host][0], text];
    if (sought && !cells.join(" ").toLowerCase().includes(sought)) continue;
    count += 1;
    if (count > MOST) continue;
    const row = document.createElement("tr");
    row.className = kind + (moment === chosen ? " chosen" : "");
    for (const cell of cells) row.appendChild(document.createElement("td")).textContent = cell;
    row.onclick = () => { chosen = moment; centre(at); };
    rows.appendChild(row);
  }
  if (count > MOST) {
    const row = document.createElement("tr");
    const cell = row.appendChild(document.createElement("td"));
    cell.colSpan = 3;
    cell.textContent = `${count - MOST} more: look nearer, or say what is sought`;
    rows.appendChild(row);
  }
  list.replaceChildren(rows);
}

function show(from, to) {
  const span = Math.min(Math.max(to - from, 5), end);
  view.from = Math.min(Math.max(from, 0), end - span);
  view.to = view.from + span;
  requestAnimationFrame(draw);
}

// Zooms so that what is at this time stays where it is.
function zoom(factor, at) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

const centre = (at) => show(at - (view.to - view.from) / 2, at + (view.to - view.from) / 2);
const move = (share) => {
  const by = (view.to - view.from) * share;
  show(view.from + by, view.to + by);
};
const timeAt = (event) => {
  const wide = lanes.clientWidth - GUTTER;
  return view.from + ((event.offsetX - GUTTER) / wide) * (view.to - view.from);
};

// How far a point is from a line.
function distance(x, y, [x1, y1, x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const share = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x1 - share * dx, y - y1 - share * dy);
}

function hit(x, y) {
  const inside = (it) => it.left !== undefined
    && x >= it.left && x <= it.right && y >= it.top && y <= it.low;
  const near = hits.filter(inside);
  const best = near.findLast((it) => it.moment) ?? near.at(-1);
  return best ?? hits.find((it) => it.line && distance(x, y, it.line) < 3);
}

let dragged = null;
lanes.addEventListener("wheel", (event) => {
  if (event.offsetX < GUTTER) return;
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    move((event.deltaX || event.deltaY) / 1000);
  } else {
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
  }
}, { passive: false });
lanes.addEventListener("pointerdown", (event) => {
  dragged = { x: event.offsetX, from: view.from, to: view.to, far: false };
  lanes.setPointerCapture(event.pointerId);
});
lanes.addEventListener("pointermove", (event) => {
  if (dragged) {
    const by = ((dragged.x - event.offsetX) / (lanes.clientWidth - GUTTER)) * (dragged.to - dragged.from);
    dragged.far ||= Math.abs(dragged.x - event.offsetX) > 3;
    if (dragged.far) show(dragged.from + by, dragged.to + by);
    return;
  }
  const found = hit(event.offsetX, event.offsetY);
  tip.hidden = !found;
  if (!found) return;
  tip.textContent = found.text;
  const right = event.clientX > window.innerWidth / 2;
  tip.style.left = right ? "auto" : event.clientX + 14 + "px";
  tip.style.right = right ? window.innerWidth - event.clientX + 14 + "px" : "auto";
  tip.style.top = event.clientY + 14 + "px";
});
lanes.addEventListener("pointerup", (event) => {
  const clicked = dragged && !dragged.far && hit(event.offsetX, event.offsetY);
  dragged = null;
  if (clicked && clicked.moment) {
    chosen = clicked.moment;
    draw();
    list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  }
});
lanes.addEventListener("pointerleave", () => { tip.hidden = true; });
overview.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
overview.addEventListener("pointerdown", jump);
function jump(event) {
  centre(((event.offsetX - GUTTER) / (overview.clientWidth - GUTTER)) * end);
}

const midst = () => (view.from + view.to) / 2;
find("nearer").onclick = () => zoom(0.5, midst());
find("farther").onclick = () => zoom(2, midst());
find("all").onclick = () => show(0, end);
for (const id of ["messages", "idle"]) find(id).onchange = draw;
find("sought").oninput = fillList;
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
window.addEventListener("keydown", (event) => {
  if (event.target === find("sought")) return;
  const keys = {
    "+": () => zoom(0.5, midst()), "=": () => zoom(0.5, midst()), "-": () => zoom(2, midst()),
    "0": () => show(0, end), ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

// What is looked at can be named in the address: #from-to, in seconds.
const named = location.hash.match(/^#([\d.]+)-([\d.]+)$/);
if (named) show(named[1] * 1000, named[2] * 1000); else draw();
