//! Mount plans: what is accepted says itself in lines that are accepted again and say the same.
#![no_main]

use libctr::mount::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(plan) = Plan::parse("fuzz", text) {
        let said = plan.to_string();
        let again = Plan::parse("again", said.as_bytes());
        assert!(again.is_ok_and(|again| again.to_string() == said), "{said}");
    }
});
