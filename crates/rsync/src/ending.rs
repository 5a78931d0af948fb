//! The end of a client's run: closing lines, help where the cause is known, the outcome.
//!
//! Called by the client once everything else is over.

use std::sync::Arc;
use std::time::Duration;

use wire::exit::ExitCode;
use wire::version::Protocol;

use crate::control::Control;
use crate::counters::Counters;
use crate::fatal::Fatal;
use crate::options::Options;
use crate::problem::Outcome;
use crate::report::messages::{Reporter, Role};

/// What is left of a client when its transfer is over.
pub struct Ending {
    /// Options of the run.
    pub opts: Arc<Options>,
    /// Voice of the run.
    pub reporter: Arc<Reporter>,
    /// Numbers of the run.
    pub counters: Counters,
    /// The role that speaks last.
    pub role: Role,
    /// Exit status of a remote shell; 0 without one.
    pub child_status: i32,
    /// Protocol of the session.
    pub protocol: Protocol,
    /// How long the run took.
    pub elapsed: Duration,
}

/// Sets the limits of a run: what one object may take, and its end in time, where it has one.
pub fn limit(opts: &Options, control: &Arc<Control>, reporter: &Arc<Reporter>) {
    wire::limits::set_object_max(opts.max_alloc);
    if let Some(time) = opts.stop_at {
        let reporter = reporter.clone();
        let told = move || reporter.final_error(b"stopping at requested limit");
        control.clone().end_at(time, told);
    }
}

impl Ending {
    /// Prints the closing lines and makes the outcome.
    pub fn conclude(self, result: Result<(), Fatal>) -> Outcome {
        let mut exit = match &result {
            Ok(()) => self.reporter.exit(),
            Err(fatal) => fatal.exit,
        };
        if result.is_ok() {
            self.reporter.close_line();
            self.tell_totals();
            if self.child_status > exit.code() {
                exit = ExitCode::from_code(self.child_status).unwrap_or(exit);
            }
        }
        let mut reason = String::new();
        if let Err(fatal) = &result {
            reason = String::from_utf8_lossy(&fatal.text).into_owned();
            if !fatal.text.is_empty() && !fatal.explained {
                self.reporter.final_error(&fatal.line(self.role));
            }
        }
        if exit != ExitCode::Ok {
            let fatal = result.as_ref().err();
            // The peer has said its own last line already; a log has this side's too.
            if !fatal.is_some_and(|fatal| fatal.from_peer) || self.reporter.log.is_some() {
                let role = fatal.and_then(|fatal| fatal.role).unwrap_or(self.role);
                let line = match fatal {
                    Some(fatal) => fatal.last_line(role),
                    None => crate::report::final_line(exit, role.word()),
                };
                if reason.is_empty() {
                    reason.clone_from(&line);
                }
                if !fatal.is_some_and(|fatal| fatal.explained) {
                    if fatal.is_some() && role == Role::Sender {
                        self.log_totals();
                    }
                    self.reporter.final_error(line.as_bytes());
                }
            }
            let cause = self.reporter.cause_said();
            let ended = !matches!(exit, ExitCode::Partial | ExitCode::Vanished);
            let trouble = self.reporter.trouble_said().filter(|_| ended);
            let said = cause.or(trouble).unwrap_or_else(|| reason.clone());
            if let Some(hint) = crate::hints::for_client(&said, &self.opts) {
                self.reporter.final_error(format!("livemirror: {hint}").as_bytes());
            }
            if !said.is_empty() {
                reason = said;
            }
        }
        let (problems, complete) = self.reporter.take_problems();
        let raw = result.as_ref().err().and_then(|fatal| fatal.raw_status);
        Outcome {
            exit,
            status: raw.unwrap_or(exit.code()),
            reason,
            problems,
            complete,
            files: self.counters.transferred,
            bytes: self.counters.transferred_size,
            deleted: self.counters.deleted.total(),
        }
    }
    fn tell_totals(&self) {
        let (counters, opts) = (&self.counters, &self.opts);
        let text = crate::report::summary::render(counters, opts, self.protocol, self.elapsed);
        self.reporter.plain(&text);
        if text.is_empty() {
            self.log_totals();
        }
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.for_each(|line| self.reporter.log_line(line));
    }

    fn log_totals(&self) {
        let counted = &self.counters;
        let (sent, received) = (counted.sent, counted.received);
        crate::run_log::totals(&self.reporter, sent, received, counted.total_size);
    }
}
