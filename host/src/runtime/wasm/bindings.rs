//! Rust bindings of the contract, generated from `plugin-sdk/wit` at compile time.

use wasmtime::component::bindgen;

bindgen!({
    path: "../plugin-sdk/wit",
    world: "job-plugin",
    imports: { default: async | trappable },
    exports: { default: async },
    trappable_error_type: {
        "job-scheduler:plugin/types.error" => crate::model::JobError,
    },
    with: {
        "job-scheduler:plugin/ssh.device": crate::capabilities::Device,
        "job-scheduler:plugin/ssh.answer-options": crate::capabilities::Question,
        "job-scheduler:plugin/ssh.save-options": super::host::SaveOptions,
        "job-scheduler:plugin/ssh.exec-options": super::host::ExecOptions,
        "job-scheduler:plugin/ssh.configure-options": crate::capabilities::ConfigureOptions,
        "job-scheduler:plugin/ssh.commit-options": crate::capabilities::CommitOptions,
        "job-scheduler:plugin/queue.submit-options": super::host::SubmitOptions,
    },
});
