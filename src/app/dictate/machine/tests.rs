use super::*;
use proptest::prelude::*;

const TIMES: Times = Times {
    debounce: Duration::from_millis(50),
    tap: Duration::from_millis(300),
    tail: Duration::from_millis(250),
    shortest: Duration::from_millis(150),
    longest: Duration::from_secs(600),
};

/// A machine, a clock, and the actions so far.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let bindings = [("hold", Mode::Hold), ("toggle", Mode::Toggle), ("auto", Mode::Auto)];
        let bindings = bindings.map(|(name, mode)| (name.to_owned(), mode)).to_vec();
        Bench { machine: Machine::new(bindings, TIMES), now: Instant::now() }
    }

    fn press(&mut self, binding: &str) -> Vec<Action> {
        self.machine.handle(&Command::Press { binding: Some(binding.into()) }, self.now)
    }

    fn release(&mut self, binding: &str) -> Vec<Action> {
        self.machine.handle(&Command::Release { binding: Some(binding.into()) }, self.now)
    }

    fn handle(&mut self, command: Command) -> Vec<Action> {
        self.machine.handle(&command, self.now)
    }

    /// Lets time pass, with the ticks that fall due.
    fn wait(&mut self, ms: u64) -> Vec<Action> {
        let until = self.now + Duration::from_millis(ms);
        let mut actions = Vec::new();
        while let Some(due) = self.machine.deadline().filter(|due| *due <= until) {
            actions.extend(self.machine.tick(due));
        }
        self.now = until;
        actions
    }
}

fn begin(take: TakeId, binding: usize) -> Vec<Action> {
    vec![Action::Begin { take, binding }]
}

fn end(take: TakeId) -> Vec<Action> {
    vec![Action::End { take, by_itself: false }]
}

#[test]
fn a_held_key_talks_until_its_tail_is_over() {
    let mut b = Bench::new();
    assert_eq!(b.press("hold"), begin(1, 0));
    assert_eq!((b.machine.state(), b.machine.binding()), (State::Recording, Some("hold")));
    assert_eq!(b.wait(2_000), []);
    assert_eq!(b.release("hold"), [Action::Ending { take: 1 }]);
    assert_eq!(b.wait(249), []);
    assert_eq!(b.machine.state(), State::Recording);
    assert_eq!(b.wait(1), end(1));
    assert_eq!(b.machine.state(), State::Processing);
    b.machine.processed();
    assert_eq!(b.machine.state(), State::Idle);
}

#[test]
fn autorepeat_is_one_long_press() {
    let mut b = Bench::new();
    assert_eq!(b.press("hold"), begin(1, 0));
    assert_eq!(b.wait(500), []);
    // As X11 sends it: a release and a press in the same millisecond, thirty times a second.
    for _ in 0..100 {
        b.release("hold");
        assert_eq!(b.press("hold"), []);
        assert_eq!(b.wait(33), []);
    }
    // As the kernel sends it: presses alone.
    for _ in 0..100 {
        assert_eq!(b.press("hold"), []);
        assert_eq!(b.wait(33), []);
    }
    assert_eq!(b.release("hold"), [Action::Ending { take: 1 }]);
    assert_eq!(b.wait(250), end(1));
}

#[test]
fn a_press_after_the_debounce_but_in_the_tail_is_a_new_take() {
    let mut b = Bench::new();
    b.press("hold");
    b.wait(1_000);
    b.release("hold");
    b.wait(100);
    assert_eq!(b.press("hold"), [end(1), begin(2, 0)].concat());
    b.wait(1_000);
    b.release("hold");
    assert_eq!(b.wait(250), end(2));
    assert_eq!(b.machine.processing(), 2);
}

#[test]
fn auto_a_tap_toggles_and_a_hold_talks() {
    let mut b = Bench::new();
    assert_eq!(b.press("auto"), begin(1, 2));
    b.wait(100);
    assert_eq!(b.release("auto"), []);
    assert_eq!(b.wait(5_000), []);
    assert_eq!(b.machine.state(), State::Recording);
    assert_eq!(b.press("auto"), [Action::Ending { take: 1 }]);
    b.wait(80);
    assert_eq!(b.release("auto"), []);
    assert_eq!(b.wait(250), end(1));
    assert_eq!(b.press("auto"), begin(2, 2));
    b.wait(1_000);
    assert_eq!(b.release("auto"), [Action::Ending { take: 2 }]);
    assert_eq!(b.wait(250), end(2));
}

#[test]
fn auto_a_bouncing_contact_is_no_tap() {
    let mut b = Bench::new();
    b.press("auto");
    b.wait(15);
    b.release("auto");
    b.wait(15);
    assert_eq!(b.press("auto"), []);
    b.wait(1_000);
    assert_eq!(b.release("auto"), [Action::Ending { take: 1 }]);
    assert_eq!(b.wait(250), end(1));
}

#[test]
fn toggle_needs_no_release_and_survives_a_bouncing_contact() {
    let mut b = Bench::new();
    assert_eq!(b.press("toggle"), begin(1, 1));
    b.wait(10);
    assert_eq!(b.press("toggle"), [], "a bounce");
    b.wait(1_000);
    assert_eq!(b.press("toggle"), [Action::Ending { take: 1 }]);
    b.wait(10);
    assert_eq!(b.press("toggle"), [], "a bounce does not start the next");
    assert_eq!(b.wait(250), end(1));
}

#[test]
fn slips_of_the_finger_are_dropped() {
    let mut b = Bench::new();
    b.press("hold");
    b.wait(100);
    assert_eq!(b.release("hold"), []);
    assert_eq!(b.wait(250), [Action::Discard { take: 1, why: Discarded::TooShort }]);
    assert_eq!(b.machine.state(), State::Idle);
}

#[test]
fn a_forgotten_take_ends_by_itself() {
    let mut b = Bench::new();
    b.handle(Command::Start { binding: None });
    assert_eq!(b.wait(600_000), [Action::End { take: 1, by_itself: true }]);
    // The release that belongs to it means nothing any more.
    assert_eq!(b.release("hold"), []);
    assert_eq!(b.machine.state(), State::Processing);
}

#[test]
fn cancel_gives_up_the_recording_first_and_then_the_work() {
    let mut b = Bench::new();
    assert_eq!(b.handle(Command::Cancel), []);
    b.press("hold");
    b.wait(1_000);
    b.release("hold");
    b.wait(250);
    b.press("hold");
    b.wait(1_000);
    assert_eq!(b.handle(Command::Cancel), [Action::Discard { take: 2, why: Discarded::Cancelled }]);
    assert_eq!(b.release("hold"), [], "the key that is still down");
    assert_eq!(b.handle(Command::Cancel), [Action::CancelProcessing]);
}

#[test]
fn another_key_changes_nothing_while_one_talks() {
    let mut b = Bench::new();
    b.press("hold");
    b.wait(1_000);
    assert_eq!(b.press("toggle"), []);
    assert_eq!(b.release("toggle"), []);
    assert_eq!(b.handle(Command::Start { binding: Some("auto".into()) }), []);
    assert_eq!(b.machine.binding(), Some("hold"));
    assert_eq!(b.handle(Command::Stop), [Action::Ending { take: 1 }]);
    assert_eq!(b.handle(Command::Stop), []);
    assert_eq!(b.wait(250), end(1));
}

#[test]
fn an_unknown_binding_is_named() {
    let mut b = Bench::new();
    let refused = b.press("halt");
    assert_eq!(refused, [Action::Refuse(Refusal::NoBinding("halt".into()))]);
}

#[test]
fn too_many_takes_at_once_are_refused_and_the_rest_goes_on() {
    let mut b = Bench::new();
    for take in 1..=MOST_PROCESSING as u64 {
        assert_eq!(b.press("hold"), begin(take, 0));
        b.wait(1_000);
        b.release("hold");
        b.wait(250);
    }
    assert_eq!(b.press("hold"), [Action::Refuse(Refusal::Busy(MOST_PROCESSING))]);
    b.release("hold");
    b.machine.processed();
    assert_eq!(b.press("hold"), begin(MOST_PROCESSING as u64 + 1, 0));
}

#[test]
fn five_hundred_rapid_taps_wedge_nothing() {
    for (mode, gap) in [("hold", 20), ("auto", 20), ("toggle", 20), ("hold", 60), ("auto", 60), ("toggle", 60)] {
        let mut b = Bench::new();
        let mut open = 0_i64;
        let mut count = |actions: Vec<Action>, machine: &mut Machine| {
            for action in actions {
                match action {
                    Action::Begin { .. } => open += 1,
                    Action::End { .. } => {
                        open -= 1;
                        machine.processed();
                    }
                    Action::Discard { .. } => open -= 1,
                    _ => {}
                }
                assert!((0..=1).contains(&open), "{mode}");
            }
        };
        for _ in 0..500 {
            let actions = b.press(mode);
            count(actions, &mut b.machine);
            let actions = b.wait(gap);
            count(actions, &mut b.machine);
            let actions = b.release(mode);
            count(actions, &mut b.machine);
            let actions = b.wait(gap);
            count(actions, &mut b.machine);
        }
        let actions = b.handle(Command::Stop);
        count(actions, &mut b.machine);
        let actions = b.wait(300);
        count(actions, &mut b.machine);
        assert_eq!((b.machine.state(), open), (State::Idle, 0), "{mode}, {gap} ms");
    }
}

proptest! {
    /// Whatever comes in: one take at a time, each begun take ends exactly once, and a stop leads to rest.
    #[test]
    fn every_take_ends_once(steps in prop::collection::vec((0..9_u8, 0..3_usize, 0..700_u64), 0..200)) {
        let mut b = Bench::new();
        let (mut open, mut ended) = (None, Vec::new());
        let names = ["hold", "toggle", "auto"];
        for (what, binding, ms) in steps {
            let name = Some(names[binding].to_owned());
            let mut actions = match what {
                0..=2 => b.handle(Command::Press { binding: name }),
                3..=5 => b.handle(Command::Release { binding: name }),
                6 => b.handle(Command::Toggle { binding: name }),
                7 => b.handle(Command::Cancel),
                _ => b.handle(Command::Stop),
            };
            actions.extend(b.wait(ms));
            for action in actions {
                match action {
                    Action::Begin { take, .. } => prop_assert!(open.replace(take).is_none()),
                    Action::End { take, .. } => {
                        prop_assert_eq!(open.take(), Some(take));
                        ended.push(take);
                        b.machine.processed();
                    }
                    Action::Discard { take, .. } => prop_assert_eq!(open.take(), Some(take)),
                    Action::Ending { take } => prop_assert_eq!(open, Some(take)),
                    Action::CancelProcessing | Action::Refuse(_) => {}
                }
            }
            prop_assert_eq!(open.is_some(), b.machine.state() == State::Recording);
        }
        b.handle(Command::Stop);
        b.wait(300);
        prop_assert_ne!(b.machine.state(), State::Recording);
        prop_assert!(ended.windows(2).all(|w| w[0] < w[1]));
    }
}
