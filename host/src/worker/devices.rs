//! Which jobs hold which devices: at most so many at once as each connection allows.
//!
//! A job takes all its devices or none, before it takes a worker's place, and waits outside of the
//! queue; so who waits for a device holds nobody back. Who came first, or is more urgent, goes first:
//! nobody overtakes on a device that an earlier one waits for, and the first of all is held up by
//! nobody, so each gets its turn. A child job shares what its parents hold.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::model::Job;

/// A device that a job needs, and how many jobs may have it at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed {
    pub connection_id: Uuid,
    pub most: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Devices {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    devices: HashMap<Uuid, Device>,
    waiting: HashMap<Uuid, Waiting>,
    holding: HashMap<Uuid, Holding>,
    next: u64,
}

#[derive(Debug, Default)]
struct Device {
    /// Jobs that hold it. Those of one family count once.
    holders: Vec<Uuid>,
    waiting: BTreeSet<(Turn, Uuid)>,
}

/// A job that may now be able to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub id: Uuid,
    pub priority: i32,
}

/// The more urgent first, then who came first.
type Turn = (i32, u64);

#[derive(Debug)]
struct Waiting {
    turn: Turn,
    family: Uuid,
    needed: Vec<Needed>,
}

#[derive(Debug)]
struct Holding {
    /// The job at the top: parents and children are one family.
    family: Uuid,
    devices: Vec<Uuid>,
}

/// Who has a device, and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUse {
    pub connection_id: Uuid,
    pub holders: Vec<Uuid>,
    /// In the order of their turns.
    pub waiting: Vec<Uuid>,
}

impl Devices {
    /// Takes all devices for a job, and says who may now be able to go beside it; or notes that it
    /// waits. `family` is the job at the top of its parents, itself if it has none.
    pub(super) fn take(
        &self,
        job: Uuid,
        family: Uuid,
        priority: i32,
        needed: &[Needed],
    ) -> Option<Vec<Next>> {
        let mut state = self.lock();
        if state.holding.contains_key(&job) {
            return Some(Vec::new());
        }
        let turn = match state.waiting.get(&job) {
            Some(waiting) => waiting.turn,
            None => {
                state.next += 1;
                (-priority, state.next)
            }
        };
        let free = needed
            .iter()
            .all(|needed| state.is_free(needed, family, turn));
        let devices: Vec<_> = needed.iter().map(|needed| needed.connection_id).collect();
        if !free {
            for id in &devices {
                let device = state.devices.entry(*id).or_default();
                device.waiting.insert((turn, job));
            }
            let waiting = Waiting {
                turn,
                family,
                needed: needed.to_vec(),
            };
            state.waiting.insert(job, waiting);
            return None;
        }
        let waited = state.stop_waiting(job);
        for id in &devices {
            state.devices.entry(*id).or_default().holders.push(job);
        }
        state.holding.insert(job, Holding { family, devices });
        Some(state.first_of(&waited))
    }

    /// Gives back what a job holds, or its turn. These may now be able to go.
    pub fn release(&self, job: Uuid) -> Vec<Next> {
        let mut state = self.lock();
        let mut freed = state.stop_waiting(job);
        if let Some(holding) = state.holding.remove(&job) {
            for id in &holding.devices {
                if let Some(device) = state.devices.get_mut(id) {
                    device.holders.retain(|holder| *holder != job);
                }
            }
            freed.extend(holding.devices);
        }
        for id in &freed {
            let unused = state
                .devices
                .get(id)
                .is_some_and(|device| device.holders.is_empty() && device.waiting.is_empty());
            if unused {
                state.devices.remove(id);
            }
        }
        state.first_of(&freed)
    }

    /// A job that waits although its devices have become free, for who may have missed it.
    pub(super) fn may_go(&self, job: Uuid) -> Option<Next> {
        let state = self.lock();
        let waiting = state.waiting.get(&job)?;
        let is_free = |needed| state.is_free(needed, waiting.family, waiting.turn);
        waiting.needed.iter().all(is_free).then_some(Next {
            id: job,
            priority: -waiting.turn.0,
        })
    }

    /// Whether a job waits for a device.
    #[must_use]
    pub fn waits(&self, job: Uuid) -> bool {
        self.lock().waiting.contains_key(&job)
    }

    /// The names of the targets for which a job waits.
    #[must_use]
    pub fn waited_for(&self, job: &Job) -> Vec<String> {
        let state = self.lock();
        if !state.waiting.contains_key(&job.id) {
            return Vec::new();
        }
        let is_first = |device: &Device| {
            let first = device.waiting.first();
            first.is_some_and(|(_, first)| *first == job.id)
        };
        let is_taken = |id: &Uuid| {
            let device = state.devices.get(id);
            device.is_some_and(|device| !device.holders.is_empty() || !is_first(device))
        };
        let taken = job
            .targets
            .iter()
            .filter(|target| is_taken(&target.connection_id));
        taken.map(|target| target.name.clone()).collect()
    }

    /// The devices that somebody holds or waits for.
    #[must_use]
    pub fn in_use(&self) -> Vec<DeviceUse> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .devices
            .iter()
            .map(|(id, device)| DeviceUse {
                connection_id: *id,
                holders: device.holders.clone(),
                waiting: device.waiting.iter().map(|(_, job)| *job).collect(),
            })
            .collect();
        all.sort_by_key(|device| device.connection_id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_free(&self, needed: &Needed, family: Uuid, turn: Turn) -> bool {
        let Some(device) = self.devices.get(&needed.connection_id) else {
            return true;
        };
        let family_of = |job: &Uuid| self.holding.get(job).map_or(*job, |held| held.family);
        let mut families: Vec<_> = device.holders.iter().map(family_of).collect();
        if families.contains(&family) {
            return true;
        }
        families.sort_unstable();
        families.dedup();
        let earlier = device
            .waiting
            .first()
            .is_some_and(|(first, _)| *first < turn);
        families.len() < needed.most && !earlier
    }

    /// Who is first in the lines of these devices.
    fn first_of(&self, devices: &[Uuid]) -> Vec<Next> {
        let lines = devices.iter().filter_map(|id| self.devices.get(id));
        let first = lines.filter_map(|device| device.waiting.first());
        let mut next: Vec<_> = first
            .map(|((urgency, _), job)| Next {
                id: *job,
                priority: -urgency,
            })
            .collect();
        next.sort_unstable_by_key(|next| next.id);
        next.dedup();
        next
    }

    /// Takes a job out of the lines it stands in; gives their devices.
    fn stop_waiting(&mut self, job: Uuid) -> Vec<Uuid> {
        let Some(waiting) = self.waiting.remove(&job) else {
            return Vec::new();
        };
        let needed = waiting.needed.iter();
        let devices: Vec<_> = needed.map(|needed| needed.connection_id).collect();
        for id in &devices {
            if let Some(device) = self.devices.get_mut(id) {
                device.waiting.remove(&(waiting.turn, job));
            }
        }
        devices
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(device: u128) -> Needed {
        Needed {
            connection_id: Uuid::from_u128(device),
            most: 1,
        }
    }

    fn take(
        devices: &Devices,
        number: u128,
        family: u128,
        priority: i32,
        needed: &[Needed],
    ) -> bool {
        devices
            .take(job(number), job(family), priority, needed)
            .is_some()
    }

    fn release(devices: &Devices, number: u128) -> Vec<Uuid> {
        devices
            .release(job(number))
            .iter()
            .map(|next| next.id)
            .collect()
    }

    fn job(number: u128) -> Uuid {
        Uuid::from_u128(1_000 + number)
    }

    #[test]
    fn one_job_at_a_time_in_their_order() {
        let devices = Devices::default();
        assert!(take(&devices, 1, 1, 0, &[one(1)]));
        assert!(!take(&devices, 2, 2, 0, &[one(1)]));
        assert!(
            !take(&devices, 3, 3, 5, &[one(1)]),
            "urgent, but it is taken"
        );
        assert!(take(&devices, 4, 4, 0, &[one(2)]));
        assert_eq!(release(&devices, 1), [job(3)]);
        assert!(!take(&devices, 2, 2, 0, &[one(1)]), "not its turn");
        assert!(take(&devices, 3, 3, 5, &[one(1)]));
        assert_eq!(release(&devices, 3), [job(2)]);
    }

    /// It was let go before it had left the queue, into which it is then not put.
    #[test]
    fn who_was_freed_too_early_is_found() {
        let devices = Devices::default();
        assert!(take(&devices, 1, 1, 0, &[one(1)]));
        assert!(!take(&devices, 2, 2, 7, &[one(1)]));
        assert_eq!(devices.may_go(job(2)), None);
        assert_eq!(release(&devices, 1), [job(2)]);
        let next = Next {
            id: job(2),
            priority: 7,
        };
        assert_eq!(devices.may_go(job(2)), Some(next));
        assert!(take(&devices, 2, 2, 7, &[one(1)]));
        assert_eq!(devices.may_go(job(2)), None);
    }

    #[test]
    fn as_many_as_it_may_have_go_together() {
        let devices = Devices::default();
        let two = Needed { most: 2, ..one(1) };
        assert!(take(&devices, 1, 1, 0, &[one(1)]));
        assert!(!take(&devices, 2, 2, 0, &[Needed { most: 1, ..one(1) }]));
        assert!(!take(&devices, 3, 3, 0, &[two]));
        assert_eq!(release(&devices, 1), [job(2)]);
        let beside = devices.take(job(2), job(2), 0, &[two]).unwrap();
        assert_eq!(beside[0].id, job(3), "there is room for one more");
        assert!(take(&devices, 3, 3, 0, &[two]));
    }

    #[test]
    fn a_child_shares_what_its_parent_holds() {
        let devices = Devices::default();
        assert!(take(&devices, 1, 1, 0, &[one(1)]));
        assert!(!take(&devices, 9, 9, 0, &[one(1)]));
        assert!(take(&devices, 2, 1, 0, &[one(1)]));
        assert!(release(&devices, 1).contains(&job(9)));
        assert!(!take(&devices, 9, 9, 0, &[one(1)]), "the child has it");
        release(&devices, 2);
        assert!(take(&devices, 9, 9, 0, &[one(1)]));
    }

    #[test]
    fn who_gives_up_holds_nobody_back() {
        let devices = Devices::default();
        assert!(take(&devices, 1, 1, 0, &[one(1)]));
        assert!(!take(&devices, 2, 2, 0, &[one(1), one(2)]));
        assert!(!take(&devices, 3, 3, 0, &[one(2)]), "job 2 was first");
        assert_eq!(release(&devices, 2), [job(3)]);
        assert!(take(&devices, 3, 3, 0, &[one(2)]));
        release(&devices, 1);
        release(&devices, 3);
        assert!(devices.in_use().is_empty());
    }

    proptest! {
        /// Jobs for one or several devices, told to try again only when they are named: all get
        /// their turn, no device has more holders than it may, and nothing is left at the end.
        #[test]
        fn everybody_gets_a_turn(wants in proptest::collection::vec((proptest::collection::btree_set(0_u128..4, 1..4), -2_i32..3), 1..24)) {
            let devices = Devices::default();
            let needed: Vec<Vec<Needed>> = wants.iter().map(|(set, _)| set.iter().map(|id| one(*id)).collect()).collect();
            let mut trying: Vec<usize> = (0..wants.len()).collect();
            let (mut holding, mut ended) = (Vec::new(), 0);
            loop {
                for index in std::mem::take(&mut trying) {
                    if take(&devices, index as u128, index as u128, wants[index].1, &needed[index]) {
                        holding.push(index);
                    }
                }
                for id in 0..4 {
                    let holders = holding.iter().filter(|index| wants[**index].0.contains(&id)).count();
                    prop_assert!(holders <= 1);
                }
                let Some(index) = holding.pop() else { break };
                ended += 1;
                let next = release(&devices, index as u128);
                trying.extend((0..wants.len()).filter(|index| next.contains(&job(*index as u128))));
            }
            prop_assert_eq!(ended, wants.len());
            prop_assert!(devices.in_use().is_empty());
        }
    }
}
