//! Looks whether requests are made where they may wait for what they might have to: in checked mode, of every request, also of one
//! that a word serves at once. Never changes what comes of it.

use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::request::Request;
use crate::state::State;
use crate::wait::{InvalidWait, Wait, may_wait};

/// Tells the platform of a request that is out of its place.
pub(crate) fn check<P: Platform>(state: &State<'_>, platform: &P, request: &Request) {
    if state.tags().is_some() {
        judge(platform, request);
    }
}

#[cold]
fn judge<P: Platform>(platform: &P, request: &Request) {
    let may = match may_wait(request.gfp) {
        Wait::Sleep if planted(Mutant::SleepUnchecked) => Wait::Nothing,
        Wait::Lock if planted(Mutant::WakeUnchecked) => Wait::Nothing,
        may => may,
    };
    // Nobody is asked where the answer does not matter.
    if may == Wait::Nothing {
        return;
    }
    let context = platform.wait_context();
    if may > context.allows() {
        let (order, gfp) = (request.order, request.gfp);
        platform.invalid_wait(&InvalidWait { context, order, gfp });
    }
}
