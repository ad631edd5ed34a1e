//! People sign in from machines without a node, lose the node that they speak with, and get a
//! whole cluster back out of a backup.

use super::city::{City, HELD};
use crate::world::{Ended, Started, until};
use serde_json::Value;
use std::fs;

/// Somebody at a machine of their own.
pub(super) struct Person<'c> {
    city: &'c City,
    name: &'static str,
}

impl<'c> Person<'c> {
    pub(super) fn new(city: &'c City, name: &'static str) -> Self {
        Self { city, name }
    }

    pub(super) fn start(&self, line: &str) -> Started {
        let config = self.city.world.path(&format!("{}/config", self.name)).display().to_string();
        self.city.world.start_with(self.name, line, &[("XDG_CONFIG_HOME", &config)])
    }

    fn run(&self, line: &str) -> Ended {
        self.start(line).ended()
    }

    pub(super) fn succeed(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{line} as {}: {ended:?}", self.name);
        ended.stdout
    }

    /// A command that must end with this code, and say this.
    pub(super) fn fail(&self, line: &str, code: i32, part: &str) {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(ended.stderr.contains(part), "{line}: {}", ended.stderr);
    }

    /// Signs in with a new token that was made at a node.
    pub(super) fn sign_in(&self, at: u8, more: &str) -> String {
        let line = format!("otto-node token create --user {} {more}", self.name);
        let login = self.city.succeed(at, &line);
        self.succeed(&format!("{} --name city", login.trim()));
        login.trim().to_owned()
    }
}

/// The token in a line that signs in.
fn token(login: &str) -> &str {
    login.split_whitespace().last().expect("a token")
}

#[test]
fn the_node_that_leads_and_that_people_speak_with_is_lost() {
    let city = City::under_one_leader();
    let bob = Person::new(&city, "bob");
    bob.sign_in(1, "");
    let context = city.world.path("bob/config/otto/contexts/city.json");
    let context: Value = serde_json::from_slice(&fs::read(context).expect("a file")).expect("JSON");
    let addresses = context["addresses"].as_array().expect("addresses");
    assert_eq!(addresses.first(), Some(&Value::from(city.address(1))), "it is tried first");
    assert_eq!(addresses.len(), 3, "the others were learned");

    city.lose_leader_of_a_run(|_, line| bob.start(line));
    let runs: Value = serde_json::from_str(&bob.succeed("otto runs --json")).expect("JSON");
    assert_eq!((runs.as_array().map(Vec::len), &runs[0]["by"]), (Some(1), &Value::from("bob")));
    city.end();
}

#[test]
fn a_person_may_do_what_their_token_says_until_it_is_revoked() {
    let city = City::new("pipeline { steps { sh 'cat word > OUT/truth' } }");
    city.found();
    fs::write(city.world.path("shop/word"), "from bob's machine\n").expect("a file");
    let (bob, ada) = (Person::new(&city, "bob"), Person::new(&city, "ada"));
    let (login, _) = (bob.sign_in(1, ""), ada.sign_in(1, "--admin"));
    bob.succeed("otto run");
    assert_eq!(city.world.truth(), ["from bob's machine"], "the working tree was sent");
    assert!(bob.succeed("otto nodes").contains("n1"));
    bob.fail(
        "otto nodes drain n1",
        2,
        "failed to do this as bob: only an administrator of the cluster may",
    );
    ada.fail("otto nodes drain n1", 2, "no other voter would be left");
    assert!(bob.succeed("otto ctx").contains("* city"));
    bob.fail("otto --context citty runs", 2, "did you mean 'city'?");
    bob.fail("otto ctx other", 2, "there is no context 'other'");

    let other = City::new("pipeline { steps { echo 'x' } }");
    other.found();
    let elsewhere = format!("otto login {} --token {}", other.address(1), token(&login));
    bob.fail(&elsewhere, 4, "it is a node of another cluster than the token is for");
    bob.fail(&format!("{}x", login.trim()), 2, "it has 90 characters");
    bob.fail(&city.invite("agent").replace("otto-node join", "otto login"), 2, "signs nobody in");
    other.end();

    let tokens = city.succeed(1, "otto-node token list --json");
    let tokens: Value = serde_json::from_str(&tokens).expect("JSON");
    let of_bob = |token: &&Value| token["purpose"]["sign_in"]["name"] == "bob";
    let of_bob = tokens.as_array().expect("tokens").iter().find(of_bob).expect("bob's");
    let name = of_bob["token"].as_str().expect("a name");
    city.succeed(1, &format!("otto-node token revoke {name}"));
    bob.fail("otto runs", 4, "this token signs nobody in");
    city.stop(1);
    ada.fail("otto runs", 5, "cannot reach the cluster");
    city.end();
}

#[test]
fn a_token_counts_everywhere_at_once_and_nowhere_once_it_is_revoked() {
    let city = City::of(3, "pipeline { steps { sh 'true' } }");
    let bob = Person::new(&city, "bob");
    for _ in 0..5 {
        let line = city.succeed(1, "otto-node token create --user bob");
        let at = |node: u8| line.trim().replace(&city.address(1), &city.address(node));
        bob.succeed(&format!("{} --name city", at(3)));
        bob.succeed("otto runs");
        let tokens = city.succeed(2, "otto-node token list --json");
        let tokens: Value = serde_json::from_str(&tokens).expect("JSON");
        for token in tokens.as_array().expect("tokens").iter().filter(|it| it["revoked"] == false) {
            if token["purpose"]["sign_in"]["name"] == "bob" {
                let name = token["token"].as_str().expect("a name");
                city.succeed(1, &format!("otto-node token revoke {name}"));
            }
        }
        for node in [3, 2, 1] {
            bob.fail(&at(node), 4, "this token signs nobody in");
        }
        bob.fail("otto runs", 4, "this token signs nobody in");
    }
    city.end();
}

#[test]
fn people_wait_for_a_majority_and_go_on() {
    let city = City::of(3, HELD);
    let bob = Person::new(&city, "bob");
    let login = bob.sign_in(1, "");
    let tokens = city.succeed(1, "otto-node token list --json");
    let revoked = city.succeed(1, "otto-node token create --user eve");
    let tokens_then = city.succeed(1, "otto-node token list --json");
    let name = |text: &str| -> Vec<String> {
        let tokens: Value = serde_json::from_str(text).expect("JSON");
        let name = |token: &Value| token["token"].as_str().map(ToOwned::to_owned);
        tokens.as_array().expect("tokens").iter().filter_map(name).collect()
    };
    let eve = name(&tokens_then).into_iter().find(|it| !name(&tokens).contains(it)).expect("hers");
    city.succeed(1, &format!("otto-node token revoke {eve}"));
    city.succeed(1, "otto run --detach");
    let watch = bob.start("otto watch --progress plain");
    let log = bob.start("otto logs 1 Held -f");
    until("both to follow the run", || !watch.complained().is_empty() && log.is_connected());
    city.kill(3);
    city.kill(2);
    let told = |started: &Started| started.complained().contains("waiting for an answer");
    until("both to say that they wait", || told(&watch) && told(&log));
    let shown = bob.succeed("otto nodes");
    assert!(shown.contains("no majority: 1 of 3 voters is there"), "{shown}");
    let ask = revoked.trim();
    bob.fail(ask, 5, "nobody can be signed in now: no majority");
    city.serve_again(2);
    city.world.make_file("go");
    city.add_special_agent(4);
    city.await_whole(watch, log);
    bob.fail(ask, 4, "this token signs nobody in");
    bob.succeed(&login);
    city.serve_again(3);
    city.end();
}

#[test]
fn a_cluster_is_restored_into_an_empty_folder() {
    let city = City::of(
        2,
        "pipeline { stage('Held') { steps {
            sh 'echo ran >> OUT/truth; touch OUT/begun; until [ -e OUT/go ]; do sleep 0.05; done'
        } } }",
    );
    let (file, go) = (city.world.path("backup"), city.world.path("out/go"));
    city.world.make_file("go");
    city.succeed(2, "otto run");
    fs::remove_file(&go).expect("it is there");
    fs::remove_file(city.world.path("out/begun")).expect("it is there");
    city.succeed(2, "otto run --detach");
    city.world.await_file("begun");
    city.succeed(2, &format!("otto-node backup {}", file.display()));
    let again = city.run(2, &format!("otto-node backup {}", file.display()));
    assert!(again.stderr.contains("it is there already"), "{again:?}");
    city.succeed(1, "otto cancel 2");
    city.kill(1);
    city.kill(2);

    let restore = format!("otto-node restore {} --listen {}", file.display(), city.address(3));
    let cut = city.world.path("cut");
    let bytes = fs::read(&file).expect("a backup");
    fs::write(&cut, &bytes[..bytes.len() - 1]).expect("a file");
    let refused = city.run(3, &restore.replace("/backup", "/cut"));
    assert!(refused.stderr.contains("is damaged"), "{refused:?}");
    let restored = city.succeed(3, &restore);
    assert!(restored.contains("as n3 of a new cluster"), "{restored}");
    let twice = city.run(3, &restore);
    assert!(twice.stderr.contains("is not empty"), "{twice:?}");
    city.serve_again(3);
    let outcome = |number: usize| {
        let runs = city.succeed(3, "otto runs --json");
        let runs: Value = serde_json::from_str(&runs).expect("JSON");
        let run = runs.as_array().expect("runs").iter().find(|run| run["run"] == number);
        run.and_then(|run| run["outcome"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(outcome(1).as_deref(), Some("success"));
    until("the open lease to be lost", || outcome(2).as_deref() == Some("lost"));
    city.world.make_file("go");
    city.succeed(3, "otto run");
    assert_eq!(outcome(3).as_deref(), Some("success"), "numbers go on where they were");
    city.succeed(3, "otto upgrade --check --all");

    let line = city.succeed(3, "otto-node token create --role control");
    city.serve(4, &format!("{} --listen {}", line.trim(), city.address(4)));
    until("the newcomer to vote", || {
        let view = city.view(3);
        view["voters"] == 2 && view["reachable_voters"] == 2
    });
    assert!(city.succeed(4, "otto logs 3").contains("echo ran"), "the other one answers, too");
    city.end();
}
