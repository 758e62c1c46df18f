//! Concurrency limits: jobs per device, as its connection allows, and jobs per plugin, as the policy
//! allows.
//!
//! A job acquires all the resources it needs or none. It waits outside the queue and without a worker
//! slot, so a job that waits for a device does not block others. Waiting jobs are ordered by priority,
//! then arrival. Capacity is reserved for a waiting job against later ones, so the first one cannot
//! starve. A child job shares the resources that its ancestors hold.
//!
//! While its plugin is at its limit, a job waits in the plugin's queue only, so that it does not block
//! its devices. If the plugin has capacity but a device is busy, the job waits in the queues of its
//! devices only and leaves the plugin's capacity to others. That could repeat forever, so after
//! [`MAX_BYPASSES`] times the job waits in all of them.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::model::Job;
use crate::storage::ReadyJob;

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
pub(super) struct ResourceRequest {
    pub resource: Resource,
    /// Concurrency limit.
    pub capacity: usize,
    /// Jobs of one owner count once: a child job shares the resources of its ancestors.
    pub owner: Uuid,
}

/// The queues of all devices and plugins, with the jobs that hold or wait for them.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyLimits {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<Resource, ResourceQueue>,
    waiting: HashMap<Uuid, Waiting>,
    holding: HashMap<Uuid, Vec<Resource>>,
    next: u64,
}

#[derive(Debug, Default)]
struct ResourceQueue {
    /// Concurrency limit, as last requested.
    capacity: usize,
    holders: Vec<Holder>,
    waiting: BTreeSet<(QueuePosition, Uuid)>,
}

#[derive(Debug)]
struct Holder {
    job: Uuid,
    owner: Uuid,
}

/// A job that may now be able to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub id: Uuid,
    pub priority: i32,
}

/// How often a job may leave its plugin's capacity to others because a device is busy.
const MAX_BYPASSES: u32 = 16;

/// Position in a queue: by priority, then arrival.
type QueuePosition = (i32, u64);

#[derive(Debug)]
struct Waiting {
    position: QueuePosition,
    requests: Vec<ResourceRequest>,
    /// The resources whose queues it is in.
    blocked_on: Vec<Resource>,
    /// How often it has left its plugin's capacity to others.
    bypasses: u32,
}

/// The result of an attempt to acquire resources.
#[derive(Debug)]
pub(super) struct Acquired {
    pub granted: bool,
    /// Jobs that may now be able to run because of it.
    pub wake: Vec<Waiter>,
}

/// Holders and waiters of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub resource: Resource,
    pub holders: Vec<Uuid>,
    /// In the order of the queue.
    pub waiting: Vec<Uuid>,
}

impl From<&ReadyJob> for Waiter {
    fn from(job: &ReadyJob) -> Self {
        Self {
            id: job.id,
            priority: job.priority,
        }
    }
}

impl From<&Job> for Waiter {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id,
            priority: job.priority,
        }
    }
}

impl ConcurrencyLimits {
    /// Acquires all resources that a job needs, or adds the job to their queues.
    pub(super) fn try_acquire(
        &self,
        job: Uuid,
        priority: i32,
        requests: &[ResourceRequest],
    ) -> Acquired {
        let mut state = self.state.lock();
        if state.holding.contains_key(&job) {
            return Acquired {
                granted: true,
                wake: Vec::new(),
            };
        }
        let (position, bypasses) = match state.waiting.get(&job) {
            Some(waiting) => (waiting.position, waiting.bypasses),
            None => {
                state.next += 1;
                ((-priority, state.next), 0)
            }
        };
        let blocked_on = state.blocking(requests, position, bypasses);
        let mut left = state.stop_waiting(job);
        left.retain(|resource| !blocked_on.contains(resource));
        let granted = blocked_on.is_empty();
        if granted {
            for request in requests {
                let queue = state.queue(request);
                queue.holders.push(Holder {
                    job,
                    owner: request.owner,
                });
            }
            let resources = requests.iter().map(|request| request.resource.clone());
            state.holding.insert(job, resources.collect());
        } else {
            for request in requests
                .iter()
                .filter(|each| blocked_on.contains(&each.resource))
            {
                state.queue(request).waiting.insert((position, job));
            }
            let is_plugin = |resource: &Resource| matches!(resource, Resource::Plugin(_));
            let bypassed = left.iter().any(is_plugin);
            let waiting = Waiting {
                position,
                requests: requests.to_vec(),
                blocked_on,
                bypasses: bypasses + u32::from(bypassed),
            };
            state.waiting.insert(job, waiting);
        }
        state.forget_unused(&left);
        Acquired {
            granted,
            wake: state.next_waiters(&left),
        }
    }

    /// Releases the resources that a job holds. Returns jobs that may now be able to run.
    pub(super) fn release(&self, job: Uuid) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let freed = state.holding.remove(&job).unwrap_or_default();
        for resource in &freed {
            if let Some(queue) = state.queues.get_mut(resource) {
                queue.holders.retain(|holder| holder.job != job);
            }
        }
        state.forget_unused(&freed);
        state.next_waiters(&freed)
    }

    /// Removes a job that does not wait anymore from the queues. Returns jobs that may now be able to
    /// run.
    pub(super) fn withdraw(&self, job: Uuid) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let freed = state.stop_waiting(job);
        state.forget_unused(&freed);
        state.next_waiters(&freed)
    }

    /// Returns the jobs that wait for a resource.
    pub(super) fn waiting(&self) -> Vec<Uuid> {
        self.state.lock().waiting.keys().copied().collect()
    }

    /// Returns a waiting job if all its resources have become free, for callers that may have missed
    /// its release.
    pub(super) fn ready(&self, job: Uuid) -> Option<Waiter> {
        let state = self.state.lock();
        let waiting = state.waiting.get(&job)?;
        let blocked_on = state.blocking(&waiting.requests, waiting.position, waiting.bypasses);
        blocked_on.is_empty().then_some(Waiter {
            id: job,
            priority: -waiting.position.0,
        })
    }

    /// Returns whether a job waits for a resource.
    pub(super) fn is_waiting(&self, job: Uuid) -> bool {
        self.state.lock().waiting.contains_key(&job)
    }

    /// Returns the busy resources that a job waits for: names of targets, and `plugin NAME`.
    pub(super) fn blocked_on(&self, job: &Job) -> Vec<String> {
        let state = self.state.lock();
        let Some(waiting) = state.waiting.get(&job.id) else {
            return Vec::new();
        };
        let is_taken = |resource: &Resource| {
            state.queues.get(resource).is_some_and(|queue| {
                let first = queue.waiting.first();
                !queue.holders.is_empty() || first.is_none_or(|(_, first)| *first != job.id)
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
        let blocked_on = waiting.blocked_on.iter().filter(|each| is_taken(each));
        blocked_on.filter_map(name_of).collect()
    }

    /// Returns all resources with holders or waiters.
    pub(super) fn usage(&self) -> Vec<Usage> {
        let state = self.state.lock();
        let mut all: Vec<_> = state
            .queues
            .iter()
            .map(|(resource, queue)| Usage {
                resource: resource.clone(),
                holders: queue.holders.iter().map(|holder| holder.job).collect(),
                waiting: queue.waiting.iter().map(|(_, job)| *job).collect(),
            })
            .collect();
        all.sort_by(|one, other| one.resource.cmp(&other.resource));
        all
    }
}

impl State {
    /// Returns the resources that a job has to wait for; none if it can run.
    fn blocking(
        &self,
        requests: &[ResourceRequest],
        position: QueuePosition,
        bypasses: u32,
    ) -> Vec<Resource> {
        let (plugins, devices): (Vec<_>, Vec<_>) = requests
            .iter()
            .partition(|request| matches!(request.resource, Resource::Plugin(_)));
        let all = [plugins, devices];
        let is_busy = |kind: &&Vec<&ResourceRequest>| {
            !kind.iter().all(|request| self.is_free(request, position))
        };
        let busy: Vec<_> = match all.iter().find(is_busy) {
            None => Vec::new(),
            Some(_) if bypasses >= MAX_BYPASSES => all.concat(),
            Some(kind) => kind.clone(),
        };
        let busy = busy.into_iter();
        busy.map(|request| request.resource.clone()).collect()
    }

    /// Returns whether there is capacity left for a job, besides the holders and the waiters before it.
    fn is_free(&self, request: &ResourceRequest, position: QueuePosition) -> bool {
        let Some(queue) = self.queues.get(&request.resource) else {
            return true;
        };
        let mut owners: Vec<_> = queue.holders.iter().map(|holder| holder.owner).collect();
        if owners.contains(&request.owner) {
            return true;
        }
        owners.sort_unstable();
        owners.dedup();
        let earlier = queue
            .waiting
            .iter()
            .take_while(|(other, _)| *other < position);
        owners.len() + earlier.take(request.capacity).count() < request.capacity
    }

    fn queue(&mut self, request: &ResourceRequest) -> &mut ResourceQueue {
        let queue = self.queues.entry(request.resource.clone()).or_default();
        queue.capacity = request.capacity;
        queue
    }

    /// Returns the first waiters of each queue, up to its limit: one alone might wait for another
    /// resource.
    fn next_waiters(&self, resources: &[Resource]) -> Vec<Waiter> {
        let queues = resources.iter().filter_map(|id| self.queues.get(id));
        let first = queues.flat_map(|queue| queue.waiting.iter().take(queue.capacity));
        let mut next: Vec<_> = first
            .map(|((urgency, _), job)| Waiter {
                id: *job,
                priority: -urgency,
            })
            .collect();
        next.sort_unstable_by_key(|next| next.id);
        next.dedup();
        next
    }

    /// Removes a job from its queues; returns their resources.
    fn stop_waiting(&mut self, job: Uuid) -> Vec<Resource> {
        let Some(waiting) = self.waiting.remove(&job) else {
            return Vec::new();
        };
        for resource in &waiting.blocked_on {
            if let Some(queue) = self.queues.get_mut(resource) {
                queue.waiting.remove(&(waiting.position, job));
            }
        }
        waiting.blocked_on
    }

    fn forget_unused(&mut self, resources: &[Resource]) {
        for resource in resources {
            let queue = self.queues.get(resource);
            if queue.is_some_and(|queue| queue.holders.is_empty() && queue.waiting.is_empty()) {
                self.queues.remove(resource);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device with a limit of one.
    fn one(device: u128, owner: u128) -> ResourceRequest {
        ResourceRequest {
            resource: Resource::Device(Uuid::from_u128(device)),
            capacity: 1,
            owner: job(owner),
        }
    }

    fn place(plugin: u128, capacity: usize, number: u128) -> ResourceRequest {
        ResourceRequest {
            resource: Resource::Plugin(format!("plugin-{plugin}")),
            capacity,
            owner: job(number),
        }
    }

    fn take(
        limits: &ConcurrencyLimits,
        number: u128,
        priority: i32,
        requests: &[ResourceRequest],
    ) -> bool {
        limits.try_acquire(job(number), priority, requests).granted
    }

    fn release(limits: &ConcurrencyLimits, number: u128) -> Vec<Uuid> {
        let freed = [limits.withdraw(job(number)), limits.release(job(number))];
        ids(&freed.concat())
    }

    fn ids(next: &[Waiter]) -> Vec<Uuid> {
        next.iter().map(|next| next.id).collect()
    }

    fn job(number: u128) -> Uuid {
        Uuid::from_u128(1_000 + number)
    }

    #[test]
    fn jobs_on_one_device_run_one_at_a_time_in_order() {
        let limits = ConcurrencyLimits::default();
        assert!(take(&limits, 1, 0, &[one(1, 1)]));
        assert!(!take(&limits, 2, 0, &[one(1, 2)]));
        assert!(
            !take(&limits, 3, 5, &[one(1, 3)]),
            "urgent, but the device is busy"
        );
        assert!(take(&limits, 4, 0, &[one(2, 4)]));
        assert_eq!(release(&limits, 1), [job(3)]);
        assert!(!take(&limits, 2, 0, &[one(1, 2)]), "not its position");
        assert!(take(&limits, 3, 5, &[one(1, 3)]));
        assert_eq!(release(&limits, 3), [job(2)]);
    }

    /// A job released while it is still in the queue is not enqueued.
    #[test]
    fn a_release_that_a_job_missed_is_found_again() {
        let limits = ConcurrencyLimits::default();
        assert!(take(&limits, 1, 0, &[one(1, 1)]));
        assert!(!take(&limits, 2, 7, &[one(1, 2)]));
        assert_eq!(limits.ready(job(2)), None);
        assert_eq!(release(&limits, 1), [job(2)]);
        let next = Waiter {
            id: job(2),
            priority: 7,
        };
        assert_eq!(limits.ready(job(2)), Some(next));
        assert!(take(&limits, 2, 7, &[one(1, 2)]));
        assert_eq!(limits.ready(job(2)), None);
    }

    #[test]
    fn a_device_runs_as_many_jobs_as_its_capacity() {
        let limits = ConcurrencyLimits::default();
        let two = |number| ResourceRequest {
            capacity: 2,
            ..one(1, number)
        };
        assert!(take(&limits, 1, 0, &[one(1, 1)]));
        assert!(!take(&limits, 2, 0, &[one(1, 2)]));
        assert!(!take(&limits, 3, 0, &[two(3)]));
        assert_eq!(release(&limits, 1), [job(2), job(3)]);
        let beside = limits.try_acquire(job(2), 0, &[two(2)]);
        assert!(beside.granted);
        assert_eq!(ids(&beside.wake), [job(3)], "there is room for one more");
        assert!(take(&limits, 3, 0, &[two(3)]));
    }

    #[test]
    fn a_child_job_shares_the_resources_of_its_parent() {
        let limits = ConcurrencyLimits::default();
        assert!(take(&limits, 1, 0, &[one(1, 1)]));
        assert!(!take(&limits, 9, 0, &[one(1, 9)]));
        assert!(take(&limits, 2, 0, &[one(1, 1)]));
        assert!(release(&limits, 1).contains(&job(9)));
        assert!(!take(&limits, 9, 0, &[one(1, 9)]), "the child has it");
        release(&limits, 2);
        assert!(take(&limits, 9, 0, &[one(1, 9)]));
    }

    #[test]
    fn a_released_waiter_blocks_no_other_job() {
        let limits = ConcurrencyLimits::default();
        assert!(take(&limits, 1, 0, &[one(1, 1)]));
        assert!(!take(&limits, 2, 0, &[one(1, 2), one(2, 2)]));
        assert!(!take(&limits, 3, 0, &[one(2, 3)]), "job 2 was first");
        assert_eq!(release(&limits, 2), [job(3)]);
        assert!(take(&limits, 3, 0, &[one(2, 3)]));
        release(&limits, 1);
        release(&limits, 3);
        assert!(limits.usage().is_empty());
    }

    #[test]
    fn a_job_waiting_for_its_plugin_does_not_block_its_device() {
        let limits = ConcurrencyLimits::default();
        assert!(take(&limits, 1, 0, &[one(1, 1), place(1, 1, 1)]));
        assert!(!take(&limits, 2, 0, &[one(2, 2), place(1, 1, 2)]));
        assert!(take(&limits, 3, 0, &[one(2, 3)]), "of another plugin");
        assert_eq!(release(&limits, 1), [job(2)]);
        // Its device is busy now: another job gets the plugin's capacity.
        let acquired = limits.try_acquire(job(2), 0, &[one(2, 2), place(1, 1, 2)]);
        assert!(!acquired.granted);
        assert!(take(&limits, 4, 0, &[one(4, 4), place(1, 1, 4)]));
        assert_eq!(release(&limits, 3), [job(2)]);
        assert!(!take(&limits, 2, 0, &[one(2, 2), place(1, 1, 2)]));
        assert!(
            take(&limits, 5, 0, &[one(2, 5)]),
            "it left the device's queue"
        );
        release(&limits, 5);
        assert_eq!(release(&limits, 4), [job(2)]);
        assert!(take(&limits, 2, 0, &[one(2, 2), place(1, 1, 2)]));
    }

    /// The device and the plugin of a job are always in demand and never free together.
    #[test]
    fn limits_do_not_starve_a_job_needing_two_resources() {
        let limits = ConcurrencyLimits::default();
        let wants = |number: u128| match number {
            // The job that needs both.
            0 => vec![one(1, 0), place(1, 1, 0)],
            number if number.is_multiple_of(2) => vec![one(1, number)],
            number => vec![one(100 + number, number), place(1, 1, number)],
        };
        assert!(take(&limits, 1, 0, &wants(1)));
        assert!(take(&limits, 2, 0, &wants(2)));
        let mut holding = vec![1_u128, 2];
        assert!(!take(&limits, 0, 0, &wants(0)));
        for number in 3..200 {
            let mut trying = vec![number];
            // Alternates between the ends of the plugin's and the device's holder.
            if number % 3 == 0 {
                let ended = holding.remove(0);
                trying.extend(numbers(&limits.release(job(ended))));
            }
            while let Some(number) = trying.pop() {
                let acquired = limits.try_acquire(job(number), 0, &wants(number));
                if acquired.granted {
                    if number == 0 {
                        return;
                    }
                    holding.push(number);
                }
                trying.extend(numbers(&acquired.wake));
            }
        }
        panic!("it never had its position");
    }

    fn numbers(next: &[Waiter]) -> Vec<u128> {
        next.iter().map(|next| next.id.as_u128() - 1_000).collect()
    }

    proptest! {
        /// Jobs of limited plugins on one or several devices, retried only when released: all run, no
        /// limit is exceeded, and no state is left at the end. Some are withdrawn while they wait.
        #[test]
        fn every_job_runs_within_the_limits(
            wants in proptest::collection::vec(
                (proptest::collection::btree_set(0_u128..4, 1..4), 0_u128..3, -2_i32..3),
                1..24,
            ),
            withdrawn in proptest::collection::btree_set(0_usize..24, 0..6),
        ) {
            let limits = ConcurrencyLimits::default();
            // Every second device allows two jobs.
            let capacity = |device: u128| 1 + (device % 2) as usize;
            let requests = |index: usize| -> Vec<ResourceRequest> {
                let (devices, plugin, _) = &wants[index];
                let number = index as u128;
                let devices = devices.iter().map(|id| ResourceRequest {
                    capacity: capacity(*id),
                    ..one(*id, number)
                });
                // Plugin 0 is unlimited.
                let places = (*plugin > 0).then(|| place(*plugin, *plugin as usize, number));
                devices.chain(places).collect()
            };
            let named = |next: &[Waiter]| {
                let of = |next: &Waiter| (next.id.as_u128() - 1_000) as usize;
                next.iter().map(of).collect::<Vec<_>>()
            };
            let mut trying: Vec<usize> = (0..wants.len()).collect();
            let (mut holding, mut ended) = (Vec::new(), 0);
            let mut withdrawn: Vec<_> = withdrawn.into_iter().filter(|index| *index < wants.len()).collect();
            loop {
                let mut tries = 0;
                while let Some(index) = trying.pop() {
                    tries += 1;
                    prop_assert!(tries < 10_000, "they wake each other forever");
                    if holding.contains(&index) {
                        continue;
                    }
                    let acquired = limits.try_acquire(job(index as u128), wants[index].2, &requests(index));
                    if acquired.granted {
                        holding.push(index);
                    }
                    trying.extend(named(&acquired.wake));
                }
                for id in 0..4 {
                    let holders = holding.iter().filter(|index| wants[**index].0.contains(&id)).count();
                    prop_assert!(holders <= capacity(id));
                }
                for plugin in 1..3 {
                    let running = holding.iter().filter(|index| wants[**index].1 == plugin).count();
                    prop_assert!(running <= plugin as usize);
                }
                if let Some(index) = withdrawn.pop()
                    && limits.is_waiting(job(index as u128))
                {
                    trying.extend(named(&limits.withdraw(job(index as u128))));
                    ended += 1;
                    continue;
                }
                let Some(index) = holding.pop() else { break };
                ended += 1;
                trying.extend(named(&limits.release(job(index as u128))));
            }
            prop_assert_eq!(ended, wants.len());
            prop_assert!(limits.usage().is_empty());
        }
    }
}
