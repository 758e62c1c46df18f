//! The wire types of the API, separate from the model: a field here is a promise to clients.

mod connections;
mod devices;
mod health;
mod jobs;
mod notifications;
mod pauses;
mod plugins;
mod schedules;
mod terminal;

pub use connections::{
    ConnectionAnswer, ConnectionDetection, ConnectionList, ConnectionTest, DetectedPlatform,
    HostKeyAnswer, HostKeyList, JumpChoice, LoginAnswerRequest, LoginAnswerResponse, TrustHostKey,
    WriteConnection, WrittenSecret,
};
pub use devices::{DeviceAnswer, DeviceList, LeftAloneAnswer};
pub use health::{Health, HealthStatus, PluginHealth, QueueHealth, StorageHealth, WorkerHealth};
pub use jobs::{
    AttemptAnswer, AttemptList, BatchAnswer, Change, ComparedCommand, Comparison, ConnectionChoice,
    CreateJob, JobAccepted, JobAnswer, JobList, JobStats, LogAnswer, LogList, OutputEvent,
    RerunJob, ResultAnswer, ResultList, RunningAnswer,
};
pub use notifications::{
    ChannelHealth, NotificationAnswer, NotificationHealth, NotificationList, NotificationTest,
    TestNotification,
};
pub use pauses::{HeldBackAnswer, PauseAnswer, PauseList, WritePause};
pub use plugins::{PluginAnswer, PluginList, PluginStatus, PluginVersionAnswer, PluginVersions};
pub use schedules::{
    NEXT_RUNS, PreviewSchedule, ScheduleAnswer, ScheduleList, SchedulePreview, WriteSchedule,
};
pub use terminal::{CloseReason, TerminalCommand, TerminalEvent};
