//! Concurrency limits: jobs per device, as its connection allows, and jobs per plugin, as the policy
//! allows.
//!
//! A job acquires all the resources it needs or none. It waits outside the queue and without a worker
//! slot, so a job that waits for a device does not block others. Waiting jobs are ordered by priority,
//! then arrival. Capacity is reserved for a waiting job against later ones, so the first one cannot
//! starve. A child job shares the resources that its ancestors hold.
//!
//! While its plugin is at its limit, a job waits in the plugin's line only, so that it does not block
//! its devices. If the plugin has capacity but a device is busy, the job waits in the lines of its
//! devices only and leaves the plugin's capacity to others. That could repeat forever, so after
//! [`MOST_PASSED`] times the job waits in all lines.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::model::Job;

/// A resource with limited concurrency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// A device, by the id of its connection.
    Device(Uuid),
    /// A plugin, by name.
    Plugin(String),
}

/// A resource that a job needs.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    pub resource: Resource,
    /// Concurrency limit.
    pub most: usize,
    /// Jobs of one family count once: a child job shares the resources of its ancestors.
    pub family: Uuid,
}

/// The lines of all devices and plugins, with the jobs that hold or wait for them.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    lines: HashMap<Resource, Line>,
    waiting: HashMap<Uuid, Waiting>,
    holding: HashMap<Uuid, Vec<Resource>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// Concurrency limit, as last requested.
    most: usize,
    holders: Vec<Holder>,
    waiting: BTreeSet<(Turn, Uuid)>,
}

#[derive(Debug)]
struct Holder {
    job: Uuid,
    family: Uuid,
}

/// A job that may now be able to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub id: Uuid,
    pub priority: i32,
}

/// How often a job may leave its plugin's capacity to others because a device is busy.
const MAX_BYPASSES: u32 = 16;

/// Position in a line: by priority, then arrival.
type Turn = (i32, u64);

#[derive(Debug)]
struct Waiting {
    turn: Turn,
    needed: Vec<Needed>,
    /// The lines in which it waits.
    lines: Vec<Resource>,
    /// How often it has left its plugin's capacity to others.
    passed: u32,
}

/// The result of an attempt to acquire resources, and the jobs that may now be able to run because of
/// it.
#[derive(Debug)]
pub(super) struct Tried {
    pub taken: bool,
    pub next: Vec<Next>,
}

/// Holders and waiters of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub resource: Resource,
    pub holders: Vec<Uuid>,
    /// In the order of the line.
    pub waiting: Vec<Uuid>,
}

impl Turns {
    /// Acquires all resources that a job needs, or adds the job to the lines.
    pub(super) fn take(&self, job: Uuid, priority: i32, needed: &[Needed]) -> Tried {
        let mut state = self.lock();
        if state.holding.contains_key(&job) {
            return Tried {
                taken: true,
                next: Vec::new(),
            };
        }
        let (turn, passed) = match state.waiting.get(&job) {
            Some(waiting) => (waiting.turn, waiting.passed),
            None => {
                state.next += 1;
                ((-priority, state.next), 0)
            }
        };
        let lines = state.lines_for(needed, turn, passed);
        let mut left = state.stop_waiting(job);
        left.retain(|resource| !lines.contains(resource));
        let taken = lines.is_empty();
        if taken {
            for needed in needed {
                let line = state.line(needed);
                line.holders.push(Holder {
                    job,
                    family: needed.family,
                });
            }
            let resources = needed.iter().map(|needed| needed.resource.clone());
            state.holding.insert(job, resources.collect());
        } else {
            for needed in needed.iter().filter(|each| lines.contains(&each.resource)) {
                state.line(needed).waiting.insert((turn, job));
            }
            let is_plugin = |resource: &Resource| matches!(resource, Resource::Plugin(_));
            let passes = left.iter().any(is_plugin);
            let waiting = Waiting {
                turn,
                needed: needed.to_vec(),
                lines,
                passed: passed + u32::from(passes),
            };
            state.waiting.insert(job, waiting);
        }
        state.forget_unused(&left);
        Tried {
            taken,
            next: state.first_of(&left),
        }
    }

    /// Releases the resources of a job and removes it from the lines. Returns jobs that may now be able
    /// to run.
    pub fn release(&self, job: Uuid) -> Vec<Next> {
        let mut state = self.lock();
        let mut freed = state.stop_waiting(job);
        if let Some(held) = state.holding.remove(&job) {
            for resource in &held {
                if let Some(line) = state.lines.get_mut(resource) {
                    line.holders.retain(|holder| holder.job != job);
                }
            }
            freed.extend(held);
        }
        state.forget_unused(&freed);
        state.first_of(&freed)
    }

    /// Returns a waiting job if all its resources have become free, for callers that may have missed
    /// its release.
    pub(super) fn may_go(&self, job: Uuid) -> Option<Next> {
        let state = self.lock();
        let waiting = state.waiting.get(&job)?;
        let lines = state.lines_for(&waiting.needed, waiting.turn, waiting.passed);
        lines.is_empty().then_some(Next {
            id: job,
            priority: -waiting.turn.0,
        })
    }

    /// Returns whether a job waits for a resource.
    #[must_use]
    pub fn waits(&self, job: Uuid) -> bool {
        self.lock().waiting.contains_key(&job)
    }

    /// Returns the busy resources that a job waits for: names of targets, and `plugin NAME`.
    #[must_use]
    pub fn waited_for(&self, job: &Job) -> Vec<String> {
        let state = self.lock();
        let Some(waiting) = state.waiting.get(&job.id) else {
            return Vec::new();
        };
        let is_taken = |resource: &Resource| {
            state.lines.get(resource).is_some_and(|line| {
                let first = line.waiting.first();
                !line.holders.is_empty() || first.is_none_or(|(_, first)| *first != job.id)
            })
        };
        let name_of = |resource: &Resource| match resource {
            Resource::Device(id) => {
                let mut targets = job.targets.iter();
                let target = targets.find(|target| target.connection_id == *id);
                target.map(|target| target.name.clone())
            }
            Resource::Plugin(name) => Some(format!("plugin {name}")),
        };
        let lines = waiting.lines.iter().filter(|each| is_taken(each));
        lines.filter_map(name_of).collect()
    }

    /// Returns all resources with holders or waiters.
    #[must_use]
    pub fn in_use(&self) -> Vec<Use> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .lines
            .iter()
            .map(|(resource, line)| Use {
                resource: resource.clone(),
                holders: line.holders.iter().map(|holder| holder.job).collect(),
                waiting: line.waiting.iter().map(|(_, job)| *job).collect(),
            })
            .collect();
        all.sort_by(|one, other| one.resource.cmp(&other.resource));
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the lines in which a job has to wait; none if it can run.
    fn lines_for(&self, needed: &[Needed], turn: Turn, passed: u32) -> Vec<Resource> {
        let (plugins, devices): (Vec<_>, Vec<_>) = needed
            .iter()
            .partition(|needed| matches!(needed.resource, Resource::Plugin(_)));
        let all = [plugins, devices];
        let is_busy = |kind: &&Vec<&Needed>| !kind.iter().all(|needed| self.is_free(needed, turn));
        let busy: Vec<_> = match all.iter().find(is_busy) {
            None => Vec::new(),
            Some(_) if passed >= MAX_BYPASSES => all.concat(),
            Some(kind) => kind.clone(),
        };
        let busy = busy.into_iter();
        busy.map(|needed| needed.resource.clone()).collect()
    }

    /// Returns whether there is capacity left for a job, besides the holders and the waiters before it.
    fn is_free(&self, needed: &Needed, turn: Turn) -> bool {
        let Some(line) = self.lines.get(&needed.resource) else {
            return true;
        };
        let mut families: Vec<_> = line.holders.iter().map(|holder| holder.family).collect();
        if families.contains(&needed.family) {
            return true;
        }
        families.sort_unstable();
        families.dedup();
        let earlier = line.waiting.iter().take_while(|(other, _)| *other < turn);
        families.len() + earlier.take(needed.most).count() < needed.most
    }

    fn line(&mut self, needed: &Needed) -> &mut Line {
        let line = self.lines.entry(needed.resource.clone()).or_default();
        line.most = needed.most;
        line
    }

    /// Returns the first waiters of each line, up to its limit: one alone might wait for another
    /// resource.
    fn first_of(&self, resources: &[Resource]) -> Vec<Next> {
        let lines = resources.iter().filter_map(|id| self.lines.get(id));
        let first = lines.flat_map(|line| line.waiting.iter().take(line.most));
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

    /// Removes a job from its lines; returns their resources.
    fn stop_waiting(&mut self, job: Uuid) -> Vec<Resource> {
        let Some(waiting) = self.waiting.remove(&job) else {
            return Vec::new();
        };
        for resource in &waiting.lines {
            if let Some(line) = self.lines.get_mut(resource) {
                line.waiting.remove(&(waiting.turn, job));
            }
        }
        waiting.lines
    }

    fn forget_unused(&mut self, resources: &[Resource]) {
        for resource in resources {
            let line = self.lines.get(resource);
            if line.is_some_and(|line| line.holders.is_empty() && line.waiting.is_empty()) {
                self.lines.remove(resource);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device with a limit of one.
    fn one(device: u128, family: u128) -> Needed {
        Needed {
            resource: Resource::Device(Uuid::from_u128(device)),
            most: 1,
            family: job(family),
        }
    }

    fn place(plugin: u128, most: usize, number: u128) -> Needed {
        Needed {
            resource: Resource::Plugin(format!("plugin-{plugin}")),
            most,
            family: job(number),
        }
    }

    fn take(turns: &Turns, number: u128, priority: i32, needed: &[Needed]) -> bool {
        turns.take(job(number), priority, needed).taken
    }

    fn release(turns: &Turns, number: u128) -> Vec<Uuid> {
        ids(&turns.release(job(number)))
    }

    fn ids(next: &[Next]) -> Vec<Uuid> {
        next.iter().map(|next| next.id).collect()
    }

    fn job(number: u128) -> Uuid {
        Uuid::from_u128(1_000 + number)
    }

    #[test]
    fn one_job_at_a_time_in_their_order() {
        let turns = Turns::default();
        assert!(take(&turns, 1, 0, &[one(1, 1)]));
        assert!(!take(&turns, 2, 0, &[one(1, 2)]));
        assert!(!take(&turns, 3, 5, &[one(1, 3)]), "urgent, but it is taken");
        assert!(take(&turns, 4, 0, &[one(2, 4)]));
        assert_eq!(release(&turns, 1), [job(3)]);
        assert!(!take(&turns, 2, 0, &[one(1, 2)]), "not its turn");
        assert!(take(&turns, 3, 5, &[one(1, 3)]));
        assert_eq!(release(&turns, 3), [job(2)]);
    }

    /// A job released while it is still in the queue is not enqueued.
    #[test]
    fn who_was_freed_too_early_is_found() {
        let turns = Turns::default();
        assert!(take(&turns, 1, 0, &[one(1, 1)]));
        assert!(!take(&turns, 2, 7, &[one(1, 2)]));
        assert_eq!(turns.may_go(job(2)), None);
        assert_eq!(release(&turns, 1), [job(2)]);
        let next = Next {
            id: job(2),
            priority: 7,
        };
        assert_eq!(turns.may_go(job(2)), Some(next));
        assert!(take(&turns, 2, 7, &[one(1, 2)]));
        assert_eq!(turns.may_go(job(2)), None);
    }

    #[test]
    fn as_many_as_it_may_have_go_together() {
        let turns = Turns::default();
        let two = |number| Needed {
            most: 2,
            ..one(1, number)
        };
        assert!(take(&turns, 1, 0, &[one(1, 1)]));
        assert!(!take(&turns, 2, 0, &[one(1, 2)]));
        assert!(!take(&turns, 3, 0, &[two(3)]));
        assert_eq!(release(&turns, 1), [job(2), job(3)]);
        let beside = turns.take(job(2), 0, &[two(2)]);
        assert!(beside.taken);
        assert_eq!(ids(&beside.next), [job(3)], "there is room for one more");
        assert!(take(&turns, 3, 0, &[two(3)]));
    }

    #[test]
    fn a_child_shares_what_its_parent_holds() {
        let turns = Turns::default();
        assert!(take(&turns, 1, 0, &[one(1, 1)]));
        assert!(!take(&turns, 9, 0, &[one(1, 9)]));
        assert!(take(&turns, 2, 0, &[one(1, 1)]));
        assert!(release(&turns, 1).contains(&job(9)));
        assert!(!take(&turns, 9, 0, &[one(1, 9)]), "the child has it");
        release(&turns, 2);
        assert!(take(&turns, 9, 0, &[one(1, 9)]));
    }

    #[test]
    fn who_gives_up_holds_nobody_back() {
        let turns = Turns::default();
        assert!(take(&turns, 1, 0, &[one(1, 1)]));
        assert!(!take(&turns, 2, 0, &[one(1, 2), one(2, 2)]));
        assert!(!take(&turns, 3, 0, &[one(2, 3)]), "job 2 was first");
        assert_eq!(release(&turns, 2), [job(3)]);
        assert!(take(&turns, 3, 0, &[one(2, 3)]));
        release(&turns, 1);
        release(&turns, 3);
        assert!(turns.in_use().is_empty());
    }

    #[test]
    fn who_waits_for_its_plugin_keeps_nobody_from_its_device() {
        let turns = Turns::default();
        assert!(take(&turns, 1, 0, &[one(1, 1), place(1, 1, 1)]));
        assert!(!take(&turns, 2, 0, &[one(2, 2), place(1, 1, 2)]));
        assert!(take(&turns, 3, 0, &[one(2, 3)]), "of another plugin");
        assert_eq!(release(&turns, 1), [job(2)]);
        // Its device is busy now: another job gets the plugin's capacity.
        let tried = turns.take(job(2), 0, &[one(2, 2), place(1, 1, 2)]);
        assert!(!tried.taken);
        assert!(take(&turns, 4, 0, &[one(4, 4), place(1, 1, 4)]));
        assert_eq!(release(&turns, 3), [job(2)]);
        assert!(!take(&turns, 2, 0, &[one(2, 2), place(1, 1, 2)]));
        assert!(
            take(&turns, 5, 0, &[one(2, 5)]),
            "it left the device's line"
        );
        release(&turns, 5);
        assert_eq!(release(&turns, 4), [job(2)]);
        assert!(take(&turns, 2, 0, &[one(2, 2), place(1, 1, 2)]));
    }

    /// The device and the plugin of a job are always in demand and never free together.
    #[test]
    fn nobody_is_left_behind_by_those_who_want_less() {
        let turns = Turns::default();
        let wants = |number: u128| match number {
            // The job that needs both.
            0 => vec![one(1, 0), place(1, 1, 0)],
            number if number.is_multiple_of(2) => vec![one(1, number)],
            number => vec![one(100 + number, number), place(1, 1, number)],
        };
        assert!(take(&turns, 1, 0, &wants(1)));
        assert!(take(&turns, 2, 0, &wants(2)));
        let mut holding = vec![1_u128, 2];
        assert!(!take(&turns, 0, 0, &wants(0)));
        for number in 3..200 {
            let mut trying = vec![number];
            // Alternates between the ends of the plugin's and the device's holder.
            if number % 3 == 0 {
                let ended = holding.remove(0);
                trying.extend(numbers(&turns.release(job(ended))));
            }
            while let Some(number) = trying.pop() {
                let tried = turns.take(job(number), 0, &wants(number));
                if tried.taken {
                    if number == 0 {
                        return;
                    }
                    holding.push(number);
                }
                trying.extend(numbers(&tried.next));
            }
        }
        panic!("it never had its turn");
    }

    fn numbers(next: &[Next]) -> Vec<u128> {
        next.iter().map(|next| next.id.as_u128() - 1_000).collect()
    }

    proptest! {
        /// Jobs of limited plugins on one or several devices, retried only when released: all run, no
        /// limit is exceeded, and no state is left at the end.
        #[test]
        fn everybody_gets_a_turn(
            wants in proptest::collection::vec(
                (proptest::collection::btree_set(0_u128..4, 1..4), 0_u128..3, -2_i32..3),
                1..24,
            ),
        ) {
            let turns = Turns::default();
            // Every second device allows two jobs.
            let most = |device: u128| 1 + (device % 2) as usize;
            let needed = |index: usize| -> Vec<Needed> {
                let (devices, plugin, _) = &wants[index];
                let number = index as u128;
                let devices = devices.iter().map(|id| Needed {
                    most: most(*id),
                    ..one(*id, number)
                });
                // Plugin 0 is unlimited.
                let places = (*plugin > 0).then(|| place(*plugin, *plugin as usize, number));
                devices.chain(places).collect()
            };
            let named = |next: &[Next]| {
                let of = |next: &Next| (next.id.as_u128() - 1_000) as usize;
                next.iter().map(of).collect::<Vec<_>>()
            };
            let mut trying: Vec<usize> = (0..wants.len()).collect();
            let (mut holding, mut ended) = (Vec::new(), 0);
            loop {
                let mut tries = 0;
                while let Some(index) = trying.pop() {
                    tries += 1;
                    prop_assert!(tries < 10_000, "they name one another for ever");
                    if holding.contains(&index) {
                        continue;
                    }
                    let tried = turns.take(job(index as u128), wants[index].2, &needed(index));
                    if tried.taken {
                        holding.push(index);
                    }
                    trying.extend(named(&tried.next));
                }
                for id in 0..4 {
                    let holders = holding.iter().filter(|index| wants[**index].0.contains(&id)).count();
                    prop_assert!(holders <= most(id));
                }
                for plugin in 1..3 {
                    let running = holding.iter().filter(|index| wants[**index].1 == plugin).count();
                    prop_assert!(running <= plugin as usize);
                }
                let Some(index) = holding.pop() else { break };
                ended += 1;
                trying.extend(named(&turns.release(job(index as u128))));
            }
            prop_assert_eq!(ended, wants.len());
            prop_assert!(turns.in_use().is_empty());
        }
    }
}
