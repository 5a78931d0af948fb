//! What a failed transfer leaves to do, with scripted transfers.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};

use mirror::plan::batch::Batch;
use mirror::report::What;
use mirror::run::job::Transfer;
use mirror::run::sync::End;
use mirror::status::SyncState;
use rsync::control::Control;
use rsync::problem::{Outcome, Problem, ProblemKind};
use wire::exit::ExitCode;

use crate::harness::{Live, Scratch, outcome};

/// Answers transfers from a script, then with success; keeps what it was given.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Outcome>>>,
    batches: Arc<Mutex<Vec<Batch>>>,
    passes: Arc<Mutex<u32>>,
}

impl Script {
    fn next(&self) -> Outcome {
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| outcome(ExitCode::Ok))
    }
}

impl Transfer for Script {
    fn full(&self, _: &Arc<Control>) -> Outcome {
        *self.passes.lock().unwrap() += 1;
        self.next()
    }

    fn batch(&self, batch: &Batch, _: &Arc<Control>) -> Outcome {
        self.batches.lock().unwrap().push(batch.clone());
        self.next()
    }

    fn target_is_empty(&self, _: &Arc<Control>) -> Result<bool, Outcome> {
        Ok(true)
    }
}

fn failed(exit: ExitCode, paths: &[&str]) -> Outcome {
    let problem = |p: &&str| Problem {
        path: p.as_bytes().to_vec(),
        kind: ProblemKind::Failed,
        text: format!("send_files failed to open \"{p}\": Permission denied (13)"),
    };
    Outcome { problems: paths.iter().map(problem).collect(), complete: true, ..outcome(exit) }
}

#[test]
fn exactly_the_paths_that_failed_are_sent_again() {
    // A failure would drop a change after a partial transfer, or resend everything.
    let scratch = Scratch::new();
    let script = Script::default();
    let live = Live::start(scratch.config(), Box::new(script.clone()));
    live.idle();
    script.answers.lock().unwrap().push_back(failed(ExitCode::Partial, &["bad"]));
    fs::write(scratch.src("bad"), b"x").unwrap();
    live.until("the first batch fails", || live.count(|w| matches!(w, What::Retry { .. })) == 1);
    live.until("it is sent again", || script.batches.lock().unwrap().len() >= 2);
    live.idle();
    assert_eq!(script.batches.lock().unwrap().last().unwrap().names, vec![b"./bad".to_vec()]);
    assert!(live.shared.status().last_error.is_none(), "success clears the error");
    live.stop();
}

#[test]
fn what_failed_in_the_first_pass_is_sent_by_name() {
    // A failure would lose files that could not be read at the start, or their directories' content.
    let scratch = Scratch::new();
    fs::create_dir(scratch.src("d")).unwrap();
    fs::write(scratch.src("f"), b"x").unwrap();
    let script = Script::default();
    script.answers.lock().unwrap().push_back(failed(ExitCode::Partial, &["f", "d"]));
    let live = Live::start(scratch.config(), Box::new(script.clone()));
    live.until("both are sent", || {
        let all = script.batches.lock().unwrap();
        all.iter().any(|b| b.names.contains(&b"./f".to_vec()))
            && all.iter().any(|b| b.subtrees.contains(&b"./d".to_vec()))
    });
    // Deletions may have been left out by the pass that failed in part: one more makes them good.
    live.until("everything is compared once more", || *script.passes.lock().unwrap() == 2);
    live.idle();
    live.stop();
}

#[test]
fn a_target_that_is_down_is_tried_again_while_changes_collect() {
    // A failure would end a sync because its target is restarted, or lose what happens meanwhile.
    let scratch = Scratch::new();
    let script = Script::default();
    for exit in [ExitCode::SocketIo, ExitCode::StartClient, ExitCode::StreamIo] {
        script.answers.lock().unwrap().push_back(outcome(exit));
    }
    let live = Live::start(scratch.config(), Box::new(script.clone()));
    live.until("the target fails", || live.count(|w| matches!(w, What::Retry { .. })) >= 1);
    let status = live.shared.status();
    assert_eq!(status.last_success, None);
    assert!(status.last_error.is_some_and(|e| !e.remedy.is_empty()));
    assert!(status.oldest_ms.is_some() && status.queue >= 1);
    fs::write(scratch.src("meanwhile"), b"x").unwrap();
    live.until("the pass succeeds", || live.count(|w| matches!(w, What::Pass { .. })) >= 1);
    live.idle();
    assert_eq!(live.count(|w| matches!(w, What::Retry { .. })), 3);
    live.stop();
}

#[test]
fn a_target_that_died_in_a_transfer_is_compared_once_all_is_sent() {
    // A failure would leave the unfinished files of a killed target there for good.
    let scratch = Scratch::new();
    let script = Script::default();
    let live = Live::start(scratch.config(), Box::new(script.clone()));
    live.idle();
    script.answers.lock().unwrap().push_back(outcome(ExitCode::StreamIo));
    fs::write(scratch.src("f"), b"x").unwrap();
    live.until("the batch is sent again", || script.batches.lock().unwrap().len() >= 2);
    live.until("everything is compared", || *script.passes.lock().unwrap() == 2);
    live.idle();
    fs::write(scratch.src("f"), b"y").unwrap();
    live.until("a batch follows", || script.batches.lock().unwrap().len() >= 3);
    live.idle();
    assert_eq!(*script.passes.lock().unwrap(), 2, "one comparison is enough");
    live.stop();
}

#[test]
fn an_end_that_is_asked_for_does_not_wait_for_a_retry() {
    // A failure would make a service hang when it is stopped while its target is down.
    let scratch = Scratch::new();
    let script = Script::default();
    for _ in 0..50 {
        script.answers.lock().unwrap().push_back(outcome(ExitCode::SocketIo));
    }
    let live = Live::start(scratch.config(), Box::new(script));
    live.until("it waits", || live.shared.status().state == SyncState::Waiting);
    let started = std::time::Instant::now();
    assert_eq!(live.stop(), End::Asked);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn after_a_killed_mirror_everything_is_compared_twice() {
    // A failure would trust a target at which the last transfer of the other is still at work.
    for after_killed in [false, true] {
        let scratch = Scratch::new();
        let script = Script::default();
        let live = Live::start_after(scratch.config(), Box::new(script.clone()), after_killed);
        live.until("it is idle", || {
            let passes = *script.passes.lock().unwrap();
            passes > u32::from(after_killed)
        });
        live.idle();
        fs::write(scratch.src("f"), b"x").unwrap();
        live.until("a batch follows", || script.batches.lock().unwrap().len() == 1);
        live.idle();
        assert_eq!(*script.passes.lock().unwrap(), 1 + u32::from(after_killed));
        live.stop();
    }
}
