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
mod users;

pub use connections::{
    ConnectionDetection, ConnectionList, ConnectionRequest, ConnectionResponse, ConnectionTest,
    DetectedPlatform, HostKeyList, HostKeyResponse, JumpChoice, LoginAnswerRequest,
    LoginAnswerResponse, TrustHostKey, WrittenSecret,
};
pub use devices::{DeviceList, DeviceResponse, OpenCircuit, OpenCircuitList};
pub use health::{Health, HealthStatus, PluginHealth, QueueHealth, StorageHealth, WorkerHealth};
pub use jobs::{
    AttemptList, AttemptResponse, BatchResponse, Change, ComparedCommand, Comparison,
    ConnectionChoice, CreateJob, JobAccepted, JobList, JobResponse, JobStats, LogList, LogResponse,
    OutputEvent, RerunJob, ResultList, ResultResponse, RunningResponse,
};
pub use notifications::{
    ChannelHealth, NotificationHealth, NotificationList, NotificationResponse, NotificationTest,
    TestNotification,
};
pub use pauses::{JobPause, PauseList, PauseRequest, PauseResponse};
pub use plugins::{
    PluginList, PluginResponse, PluginStatus, PluginVersionResponse, PluginVersions,
};
pub use schedules::{
    NEXT_RUNS, PreviewSchedule, ScheduleList, SchedulePreview, ScheduleRequest, ScheduleResponse,
};
pub use terminal::{CloseReason, TerminalCommand, TerminalEvent};
pub use users::{
    LoginRequest, MeResponse, PasswordRequest, ProofKind, SessionList, SessionResponse,
    SetupRequest, TokenList, TokenRequest, TokenResponse, UserList, UserRequest, UserResponse,
};
