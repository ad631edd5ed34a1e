//! What a step cannot see and cannot do.

use crate::Case;
use crate::bench::{Bench, run, script};
use otto_nodes::launcher::Level;

pub(crate) const CASES: &[Case] = &[
    ("confinement::the_nodes_folders_are_hidden", hidden),
    ("confinement::a_step_has_no_rights_and_nothing_of_ours_open", rights),
    ("confinement::without_namespaces_steps_run_and_it_is_said", sessions),
];

/// Whether this kernel lets stages have namespaces; where not, what needs them is not tested.
fn confined(bench: &Bench) -> bool {
    match bench.stages.level().expect("a launcher") {
        Level::Namespaces => true,
        Level::Sessions { reason } => {
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
        assert!(matches!(bench.stages.level(), Some(Level::Sessions { .. })));
        let (_, log) = bench.through(&script("#!/bin/sh\necho runs")).await;
        assert_eq!(log, "runs\n");
    });
}
