//! Which waiting utterance is next. No threads and no clock in here: the pool asks, and tells what the work cost.
//!
//! Two lanes. Short recordings go first, so that a clip waits for no more than what is in work. Long ones are owed
//! [`LONG_SHARE`] of the recognisers' time for as long as something of theirs waits, and are next as soon as they have
//! had less. Nothing is owed for a time without competition, and being alone earns no more than one utterance, so
//! neither lane can save up a claim that keeps the other waiting.
//!
//! Inside a lane callers are served by start-time fair queueing (Goyal, Vin, Cheng 1996): next is the caller who has
//! had the least recogniser time; one who comes back after a pause starts level with the others. Within a caller first
//! come, first served.

use std::collections::{HashMap, VecDeque};

/// Least share of the recognisers' time for long recordings while one waits.
pub const LONG_SHARE: f64 = 0.1;

/// Which queue an utterance waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Of a recording somebody waits for.
    #[default]
    Short,
    /// Of a recording that takes its time anyway.
    Long,
}

/// Whose utterance it is, and how urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Which queue.
    pub lane: Lane,
    /// Among whom time is shared out evenly.
    pub caller: u64,
}

/// Waiting things with their tickets.
pub(super) struct FairQueue<T> {
    lanes: [Callers<T>; 2],
    /// Seconds that the long lane has had less than its share; negative: more.
    owed: f64,
    next_id: u64,
}

/// Something that is waiting, to take it out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    ticket: Ticket,
    id: u64,
}

/// What was next, and what it was charged.
pub(super) struct Taken<T> {
    pub item: T,
    pub charge: Charge,
}

/// What a caller and a lane were charged when their utterance was taken; settled when the true cost is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub ticket: Ticket,
    /// Seconds.
    expected: f64,
    /// What a second of this work adds to the claim of the long lane.
    owing: f64,
}

impl<T> FairQueue<T> {
    pub fn new() -> Self {
        FairQueue { lanes: [Callers::new(), Callers::new()], owed: 0.0, next_id: 0 }
    }

    /// Puts `item` behind its caller's others. `cost` is about how many seconds the work will take, above 0.
    pub fn push(&mut self, ticket: Ticket, cost: f64, item: T) -> Place {
        let id = self.next_id;
        self.next_id += 1;
        self.lanes[ticket.lane as usize].push(ticket.caller, Waiting { id, cost, item });
        Place { ticket, id }
    }

    /// The next item.
    pub fn pop(&mut self) -> Option<Taken<T>> {
        let (short, long) = (self.waiting(Lane::Short), self.waiting(Lane::Long));
        let lane = match (short, long) {
            (0, 0) => return None,
            (_, 0) => Lane::Short,
            (0, _) => Lane::Long,
            (_, _) if self.owed > 0.0 => Lane::Long,
            (_, _) => Lane::Short,
        };
        let (caller, Waiting { cost, item, .. }) = self.lanes[lane as usize].pop()?;
        let owing = match lane {
            Lane::Short if long > 0 => LONG_SHARE,
            Lane::Short => {
                self.owed = self.owed.min(0.0);
                0.0
            }
            Lane::Long => LONG_SHARE - 1.0,
        };
        if lane == Lane::Long && short == 0 {
            self.owed = 0.0;
        }
        self.owed += owing * cost;
        Some(Taken { item, charge: Charge { ticket: Ticket { lane, caller }, expected: cost, owing } })
    }

    /// Says what the work really took, seconds; 0 for work that was not wanted any more.
    pub fn settle(&mut self, charge: Charge, seconds: f64) {
        let more = seconds - charge.expected;
        self.owed += charge.owing * more;
        self.lanes[charge.ticket.lane as usize].settle(charge.ticket.caller, more);
    }

    /// Takes something out that is still waiting.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        self.lanes[place.ticket.lane as usize].remove(place)
    }

    /// Takes out everything that `gone` says of.
    pub fn remove_all(&mut self, gone: impl Fn(&T) -> bool) -> Vec<T> {
        let mut places = Vec::new();
        for (lane, callers) in [Lane::Short, Lane::Long].into_iter().zip(&self.lanes) {
            for (caller, of) in &callers.of {
                let ticket = Ticket { lane, caller: *caller };
                places.extend(of.waiting.iter().filter(|w| gone(&w.item)).map(|w| Place { ticket, id: w.id }));
            }
        }
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// How many wait in a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].waiting
    }
}

/// One lane.
struct Callers<T> {
    of: HashMap<u64, Caller<T>>,
    /// Virtual time: what the caller served last had received, seconds.
    now: f64,
    waiting: usize,
    in_work: usize,
}

struct Caller<T> {
    /// Start tag: seconds of service received, or the lane's virtual time when this caller began to wait.
    received: f64,
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    id: u64,
    cost: f64,
    item: T,
}

impl<T> Callers<T> {
    fn new() -> Self {
        Callers { of: HashMap::new(), now: 0.0, waiting: 0, in_work: 0 }
    }

    fn push(&mut self, caller: u64, waiting: Waiting<T>) {
        let now = self.now;
        let of = self.of.entry(caller).or_insert_with(|| Caller { received: now, waiting: VecDeque::new() });
        if of.waiting.is_empty() {
            of.received = of.received.max(now);
        }
        of.waiting.push_back(waiting);
        self.waiting += 1;
    }

    fn pop(&mut self) -> Option<(u64, Waiting<T>)> {
        // The earlier of two equals, so that the order does not hang on the hash.
        let key = |of: &Caller<T>| of.waiting.front().map(|first| (of.received, first.id));
        let waiting = self.of.iter().filter_map(|(caller, of)| Some((*caller, key(of)?)));
        let (caller, _) = waiting.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        let of = self.of.get_mut(&caller)?;
        let next = of.waiting.pop_front()?;
        self.now = self.now.max(of.received);
        of.received += next.cost;
        self.waiting -= 1;
        self.in_work += 1;
        // Whoever would start level with the others anyway need not be remembered.
        let now = self.now;
        self.of.retain(|_, of| !of.waiting.is_empty() || of.received > now);
        Some((caller, next))
    }

    fn settle(&mut self, caller: u64, more: f64) {
        if let Some(of) = self.of.get_mut(&caller) {
            of.received += more;
        }
        self.in_work -= 1;
        self.forget_when_idle();
    }

    /// With nobody to be compared with, what callers had counts for nothing.
    fn forget_when_idle(&mut self) {
        if self.waiting == 0 && self.in_work == 0 {
            self.of.clear();
            self.now = 0.0;
        }
    }

    fn remove(&mut self, place: Place) -> Option<T> {
        let of = self.of.get_mut(&place.ticket.caller)?;
        let at = of.waiting.iter().position(|waiting| waiting.id == place.id)?;
        let waiting = of.waiting.remove(at)?;
        if of.waiting.is_empty() && of.received <= self.now {
            self.of.remove(&place.ticket.caller);
        }
        self.waiting -= 1;
        self.forget_when_idle();
        Some(waiting.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn short(caller: u64) -> Ticket {
        Ticket { lane: Lane::Short, caller }
    }

    fn long(caller: u64) -> Ticket {
        Ticket { lane: Lane::Long, caller }
    }

    /// Things numbered `numbers` come in, one behind the other.
    fn fill(queue: &mut FairQueue<usize>, ticket: Ticket, cost: f64, numbers: std::ops::Range<usize>) {
        for number in numbers {
            queue.push(ticket, cost, number);
        }
    }

    /// Takes the next, which costs what was expected.
    fn serve<T>(queue: &mut FairQueue<T>) -> (Ticket, T) {
        let taken = queue.pop().expect("something waits");
        queue.settle(taken.charge, taken.charge.expected);
        (taken.charge.ticket, taken.item)
    }

    #[test]
    fn a_clip_is_next_after_what_is_in_work_however_long_the_file_had_the_recogniser_alone() {
        let mut queue = FairQueue::new();
        fill(&mut queue, long(1), 1.3, 0..100);
        for _ in 0..50 {
            serve(&mut queue);
        }
        let in_work = queue.pop().expect("the file goes on");
        queue.push(short(2), 0.2, 1_000);
        queue.settle(in_work.charge, 2.0);
        assert_eq!(serve(&mut queue), (short(2), 1_000));
        // And so is the next one, after one more utterance of the file.
        assert_eq!(serve(&mut queue).0, long(1));
        queue.push(short(2), 0.2, 1_001);
        assert_eq!(serve(&mut queue), (short(2), 1_001));
    }

    #[test]
    fn callers_with_many_clips_do_not_crowd_out_one_with_a_single_clip() {
        let mut queue = FairQueue::new();
        fill(&mut queue, short(1), 1.0, 0..50);
        for _ in 0..10 {
            serve(&mut queue);
        }
        queue.push(short(2), 1.0, 100);
        let next: Vec<u64> = (0..2).map(|_| serve(&mut queue).0.caller).collect();
        assert!(next.contains(&2), "{next:?}");
        assert_eq!(serve(&mut queue).0.caller, 1);
    }

    #[test]
    fn a_pause_earns_nothing() {
        let mut queue = FairQueue::new();
        fill(&mut queue, short(1), 1.0, 0..20);
        queue.push(short(2), 1.0, 100);
        for _ in 0..12 {
            serve(&mut queue);
        }
        // Caller 2 was away while 1 was served eleven times: it is level with 1 now, not eleven ahead.
        fill(&mut queue, short(2), 1.0, 101..111);
        let next: Vec<u64> = (0..6).map(|_| serve(&mut queue).0.caller).collect();
        assert_eq!(next.iter().filter(|caller| **caller == 2).count(), 3, "{next:?}");
    }

    #[test]
    fn what_was_taken_out_is_gone_and_the_rest_keeps_its_order() {
        let mut queue = FairQueue::new();
        let places: Vec<Place> = (0..5).map(|n| queue.push(short(1), 1.0, n)).collect();
        assert_eq!(queue.remove(places[1]), Some(1));
        assert_eq!(queue.remove(places[1]), None);
        assert_eq!(queue.remove_all(|n| *n == 3), vec![3]);
        assert_eq!(queue.waiting(Lane::Short), 3);
        let rest: Vec<i32> = (0..3).map(|_| serve(&mut queue).1).collect();
        assert_eq!(rest, [0, 2, 4]);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn nobody_is_remembered_when_the_last_who_waited_gave_up() {
        let mut queue = FairQueue::new();
        fill(&mut queue, short(0), 1.0, 0..2);
        let place = queue.push(short(0), 1.0, 2);
        serve(&mut queue);
        serve(&mut queue);
        assert_eq!(queue.remove(place), Some(2));
        assert!(queue.lanes.iter().all(|lane| lane.of.is_empty()));
    }

    proptest! {
        #[test]
        fn long_files_keep_their_share_and_no_more_while_clips_wait(
            costs in prop::collection::vec((0.05..0.5f64, 0.3..3.0f64, 0.5..2.0f64), 400..600),
        ) {
            let mut queue = FairQueue::new();
            let (mut of_long, mut all) = (0.0, 0.0);
            queue.push(short(1), 0.1, ());
            queue.push(long(2), 1.0, ());
            for (clip, utterance, wrong) in costs {
                let taken = queue.pop().expect("both wait");
                // The expectation is off by up to a factor of two.
                let cost = taken.charge.expected * wrong;
                all += cost;
                match taken.charge.ticket.lane {
                    Lane::Short => {
                        queue.push(short(1), clip, ());
                    }
                    Lane::Long => {
                        of_long += cost;
                        queue.push(long(2), utterance, ());
                    }
                }
                queue.settle(taken.charge, cost);
                // Never behind by more than the clip that brought it to light.
                prop_assert!(of_long >= LONG_SHARE * (all - 1.0) - 1e-9, "{of_long} of {all}");
                prop_assert!(of_long <= LONG_SHARE * all + 6.0, "{of_long} of {all}");
            }
        }

        #[test]
        fn callers_who_wait_get_the_same(
            costs in prop::collection::vec(0.1..2.0f64, 300..500),
        ) {
            let mut queue = FairQueue::new();
            let mut received = [0.0f64; 3];
            for caller in 0..3 {
                // Each always has a few waiting; one of them ten times as many.
                fill(&mut queue, short(caller), 1.0, 0..if caller == 0 { 30 } else { 3 });
            }
            for cost in costs {
                let taken = queue.pop().expect("they wait");
                let caller = taken.charge.ticket.caller;
                received[caller as usize] += cost;
                queue.push(short(caller), 1.0, 0);
                queue.settle(taken.charge, cost);
                let (most, least) = (received.iter().copied().fold(0.0, f64::max),
                    received.iter().copied().fold(f64::MAX, f64::min));
                prop_assert!(most - least <= 2.0 * 2.0 + 1e-9, "{received:?}");
            }
        }

        #[test]
        fn nothing_is_lost_or_given_out_twice_and_each_caller_is_served_in_order(
            steps in prop::collection::vec((0..4u8, 0..3u64, any::<bool>()), 1..300),
        ) {
            let mut queue = FairQueue::new();
            let (mut inside, mut last) = (Vec::new(), HashMap::new());
            let mut in_work = Vec::new();
            for (number, (what, caller, is_long)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        let ticket = if is_long { long(caller) } else { short(caller) };
                        inside.push((queue.push(ticket, 1.0, number), number));
                    }
                    2 => if let Some(taken) = queue.pop() {
                        let at = inside.iter().position(|(_, n)| *n == taken.item).expect("it was in there");
                        inside.remove(at);
                        let before = last.insert(taken.charge.ticket, taken.item);
                        prop_assert!(before.is_none_or(|before| before < taken.item), "out of order");
                        in_work.push(taken.charge);
                    } else {
                        prop_assert!(inside.is_empty());
                    },
                    _ if is_long => if let Some((place, number)) = inside.pop() {
                        prop_assert_eq!(queue.remove(place), Some(number));
                    },
                    _ => if let Some(charge) = in_work.pop() {
                        queue.settle(charge, 0.5);
                    },
                }
                prop_assert_eq!(queue.waiting(Lane::Short) + queue.waiting(Lane::Long), inside.len());
            }
            while let Some(taken) = queue.pop() {
                inside.retain(|(_, n)| *n != taken.item);
                queue.settle(taken.charge, 1.0);
            }
            for charge in in_work {
                queue.settle(charge, 1.0);
            }
            prop_assert!(inside.is_empty());
            prop_assert!(queue.lanes.iter().all(|lane| lane.of.is_empty()), "nobody is remembered when all is done");
        }
    }
}
