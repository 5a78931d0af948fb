//! Signals become requests: stop after the file in hand, stop now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use rsync::control::Control;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on INT, TERM and HUP ask the run to stop; a second one ends the process at once.
pub(crate) fn stop_on_signal(control: &Arc<Control>) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let control = control.clone();
    let watch = move || {
        for signal in signals.forever() {
            if control.stop_requested() {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            control.request_stop();
        }
    };
    // Without the thread the signals keep their default meaning, which also stops the run.
    let _ = thread::Builder::new().name("signals".into()).spawn(watch);
}

/// From now on INT, TERM and HUP set the flag; a second one ends the process at once.
pub(crate) fn set_on_signal(flag: &Arc<AtomicBool>) {
    note_signal(flag, &Arc::default());
}

/// The same, and which one it was.
pub(crate) fn note_signal(flag: &Arc<AtomicBool>, last: &Arc<AtomicI32>) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let (flag, last) = (flag.clone(), last.clone());
    let watch = move || {
        for signal in signals.forever() {
            last.store(signal, Ordering::Release);
            if flag.swap(true, Ordering::AcqRel) {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    };
    // Without the thread the signals keep their default meaning, which also stops the run.
    let _ = thread::Builder::new().name("signals".into()).spawn(watch);
}
