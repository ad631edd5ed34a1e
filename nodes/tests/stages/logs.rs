//! What steps print arrives whole, whatever it is.

use crate::Case;
use crate::bench::{Bench, assignment, both, call, marked, marker, run, script};
use otto_actors::ports::logs::Spool;
use otto_core::run::outcome::Outcome;

pub(crate) const CASES: &[Case] = &[
    ("logs::bytes_are_kept_as_they_are", bytes),
    ("logs::a_flood_arrives_whole", flood),
    ("logs::what_is_cut_off_says_so", limit),
    ("logs::a_daemon_holds_up_no_step_and_its_lines_still_come", daemon),
];

fn bytes() {
    both(async |bench| {
        let printed = r"#!/bin/sh
printf 'a\0b\377\376\033[31mno end'";
        let asked = script(printed);
        let stage = bench.open(&asked).await;
        crate::bench::step(&*stage, 0, &std::collections::BTreeMap::new()).await.expect("a step");
        stage.close().await;
        let log = bench.spool.read(asked.lease, 0, 1000).await.expect("a log");
        assert_eq!(log, b"a\0b\xff\xfe\x1b[31mno end");
    });
}

fn flood() {
    both(async |bench| {
        let asked = script("#!/bin/sh\nhead -c 67108864 /dev/zero; echo end");
        let stage = bench.open(&asked).await;
        crate::bench::step(&*stage, 0, &std::collections::BTreeMap::new()).await.expect("a step");
        stage.close().await;
        let length = bench.spool.close(asked.lease).await.expect("an end");
        assert_eq!(length, (64 << 20) + 4);
        let tail = bench.spool.read(asked.lease, 64 << 20, 100).await.expect("a log");
        assert_eq!(tail, b"end\n");
    });
}

fn limit() {
    run(async {
        let bench = Bench::with(true, 10).await;
        let asked = script("#!/bin/sh\necho 123456789; echo cut off");
        let stage = bench.open(&asked).await;
        crate::bench::step(&*stage, 0, &std::collections::BTreeMap::new()).await.expect("a step");
        stage.close().await;
        bench.spool.close(asked.lease).await.expect("an end");
        assert_eq!(bench.log(asked.lease).await, "123456789\n… 8 bytes cut off\n");
    });
}

fn daemon() {
    both(async |bench| {
        let marker = marker();
        let begin = format!(
            "#!/bin/sh\n(while [ ! -e go ]; do sleep 0.05; done; echo late; touch gone; exec sleep {marker}) &"
        );
        let await_it = "#!/bin/sh\ntouch go; while [ ! -e gone ]; do sleep 0.05; done";
        let steps = vec![call("sh", &[("script", &begin)]), call("sh", &[("script", await_it)])];
        let (ends, log) = bench.through(&assignment(steps)).await;
        assert!(ends.iter().all(|end| end.outcome == Outcome::Success));
        assert_eq!(log, "late\n");
        assert_eq!(marked(&marker), [0; 0]);
    });
}
