//! What a step cannot see and cannot do.

use crate::Case;
use crate::bench::{Bench, both, run, script};
use otto_nodes::launcher::{Fence, Level};
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    ("confinement::the_nodes_folders_are_hidden", hidden),
    ("confinement::a_step_has_no_rights_and_nothing_of_ours_open", rights),
    ("confinement::without_namespaces_steps_run_and_it_is_said", sessions),
    ("confinement::without_namespaces_the_node_is_fenced_off", fenced),
    ("confinement::calls_deep_into_the_kernel_are_refused", calls),
    ("confinement::ordinary_tools_work", tools),
];

/// Whether this kernel lets stages have namespaces; where not, what needs them is not tested.
fn confined(bench: &Bench) -> bool {
    match bench.stages.level().expect("a launcher") {
        Level::Namespaces { .. } => true,
        Level::Sessions { reason, .. } => {
            eprintln!("not tested, since this machine has no namespaces: {reason}");
            false
        }
    }
}

fn hidden() {
    run(async {
        let bench = Bench::new().await;
        if !confined(&bench) {
            return;
        }
        let data = bench.folder.path().join("data").canonicalize().expect("a folder");
        let data = data.display();
        let check = async |text: &str, log: &str| {
            let (_, printed) = bench.through(&script(&format!("#!/bin/sh\n{text}"))).await;
            assert_eq!(printed, log, "{text}");
        };
        check(&format!("cd {data}; find . -maxdepth 2"), ".\n./agent\n./agent/work\n").await;
        check(&format!("cat {data}/secret 2>/dev/null || echo hidden"), "hidden\n").await;
        check(&format!("touch {data}/new 2>/dev/null || echo read-only"), "read-only\n").await;
        check(&format!("umount {data} 2>/dev/null || echo stays"), "stays\n").await;
        check(
            "unshare -Ur true 2>/dev/null; cat /proc/1/environ 2>/dev/null || echo closed",
            "closed\n",
        )
        .await;
        check("readlink /proc/1/fd/64 || echo closed", "closed\n").await;
        check("ls /proc | grep -c '^[0-9]*$'", "4\n").await;
        check("echo made >f; cat f; touch \"$TMPDIR/t\" && echo temporary", "made\ntemporary\n")
            .await;
    });
}

fn rights() {
    run(async {
        let bench = Bench::new().await;
        let text = "#!/bin/sh\ngrep -E '^(CapBnd|CapEff|CapPrm|NoNewPrivs|SigBlk|SigIgn)' \
                    /proc/self/status; ls /proc/$$/fd | tr '\\n' ' '; ulimit -c";
        let (_, log) = bench.through(&script(text)).await;
        let none = "0000000000000000";
        let lines: Vec<String> = log.lines().map(|line| line.replace('\t', " ")).collect();
        if confined(&bench) {
            assert_eq!(lines[2], format!("CapPrm: {none}"));
            assert_eq!(lines[3], format!("CapEff: {none}"));
            assert_eq!(lines[4], format!("CapBnd: {none}"));
        }
        assert_eq!(lines[0], format!("SigBlk: {none}"));
        // The C library ignores 32 and 33, which are its own.
        assert_eq!(lines[1], "SigIgn: 0000000180000000");
        assert_eq!(lines[5], "NoNewPrivs: 1");
        // The script itself is descriptor 3, and the shell reads it by one more.
        assert_eq!(lines[6], "0 1 10 2 3 0");
    });
}

fn sessions() {
    run(async {
        let bench = Bench::with(false, 1 << 20).await;
        let level = bench.stages.level().expect("a launcher");
        let Level::Sessions { fence, .. } = level else { panic!("it has namespaces") };
        assert!(!fence.files, "steps need the folder of temporary files, which is around the data");
        let (_, log) = bench.through(&script("#!/bin/sh\necho runs")).await;
        assert_eq!(log, "runs\n");
    });
}

/// Level L1, in a folder that steps make no files around.
fn fenced() {
    run(async {
        let bench = Bench::at(Path::new("/dev/shm"), false, 1 << 20).await;
        let Some(Level::Sessions { fence, .. }) = bench.stages.level() else {
            panic!("it has namespaces")
        };
        if fence != (Fence { processes: true, files: true, calls: true }) {
            eprintln!("not tested, since this kernel has not all of it: {fence:?}");
            return;
        }
        let data = bench.folder.path().join("data").canonicalize().expect("a folder");
        let (data, agent) = (data.display(), std::process::id());
        let check = async |text: &str, log: &str| {
            let (_, printed) = bench.through(&script(&format!("#!/bin/sh\n{text}"))).await;
            assert_eq!(printed, log, "{text}");
        };
        check(&format!("cat {data}/secret 2>/dev/null || echo hidden"), "hidden\n").await;
        for deed in ["echo x >SECRET", "touch NEW", "rm SECRET", "ln SECRET s", "mv SECRET s"] {
            let deed = deed.replace("SECRET", &format!("{data}/secret"));
            let deed = deed.replace("NEW", &format!("{data}/new"));
            check(&format!("({deed}) 2>/dev/null || echo kept"), "kept\n").await;
        }
        for process in [agent.to_string(), "1".to_owned(), "$PPID".to_owned()] {
            let read = format!("cat /proc/{process}/environ 2>/dev/null || echo closed");
            check(&read, "closed\n").await;
        }
        check(&format!("kill -0 {agent} 2>/dev/null || echo refused"), "refused\n").await;
        let attach =
            format!("import ctypes; print(ctypes.CDLL(None).ptrace(16, {agent}, None, None))");
        check(&format!("python3 -c '{attach}'"), "-1\n").await;
        check("sleep 100 & kill $! && wait; echo ended", "ended\n").await;
        check(
            "echo a >f; cat f; touch \"$TMPDIR/t\" && echo b; ls / >/dev/null && echo c",
            "a\nb\nc\n",
        )
        .await;
    });
}

fn calls() {
    both(async |bench| {
        let Some(Level::Namespaces { fence } | Level::Sessions { fence, .. }) =
            bench.stages.level()
        else {
            panic!("no launcher")
        };
        if !fence.calls {
            eprintln!("not tested, since this kernel filters no calls");
            return;
        }
        for number in [libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_userfaultfd, libc::SYS_reboot] {
            // It prints the errno too, which is that of what is not permitted.
            let text = format!(
                "#!/usr/bin/env python3\nimport ctypes\nl = ctypes.CDLL(None, use_errno=True)\n\
                 print(l.syscall({number}, 0, 0, 0), ctypes.get_errno())"
            );
            let (_, printed) = bench.through(&script(&text)).await;
            assert_eq!(printed, "-1 1\n", "call {number}");
        }
        let mount = "#!/bin/sh\nmkdir m; mount -t tmpfs m m 2>/dev/null || echo refused";
        let (_, printed) = bench.through(&script(mount)).await;
        assert_eq!(printed, "refused\n");
    });
}

/// Commands that ordinary pipelines consist of, and what they print.
const TOOLS: &[(&str, &str, &str)] = &[
    (
        "git",
        "git init -q . && git config user.name a && git config user.email a@b && touch f && \
         git add f && git commit -qm one && git log --format=%s",
        "one\n",
    ),
    ("make", "printf 'all:\\n\\t@echo made\\n' >Makefile && make -s", "made\n"),
    (
        "python3",
        "python3 -c 'import multiprocessing as m; print(sum(m.Pool(2).map(abs, [-1, -2])))'",
        "3\n",
    ),
    ("cargo", "cargo new -q --vcs none x && cd x && cargo run -q --offline", "Hello, world!\n"),
    ("node", "node -e 'require(\"child_process\").execSync(\"true\"); console.log(1)'", "1\n"),
    (
        "npm",
        "exec 2>/dev/null; npm init -y >/dev/null && npm pkg set scripts.t='echo ok' && npm -s run t",
        "ok\n",
    ),
];

fn tools() {
    both(async |bench| {
        for (tool, text, log) in TOOLS {
            let there = format!("command -v {tool} >/dev/null || {{ echo absent; exit 0; }}");
            let (_, printed) =
                bench.through(&script(&format!("#!/bin/sh\n{there}\nexec 2>&1; {text}"))).await;
            assert!(printed == *log || printed == "absent\n", "{tool}: {printed}");
        }
    });
}
