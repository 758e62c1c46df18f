//! Playbooks: plugins written in Rhai.
//!
//! A playbook defines `describe()` and `run(job, params)`. It runs on a thread where blocking is
//! allowed: each host function blocks that thread on the capability it binds to. Every run gets its own
//! engine, which takes some microseconds, because the packages and host functions are shared; the engine
//! for the next run is built in advance.

mod arguments;
mod calls;
mod definitions;
mod errors;
mod host;
mod memory;
mod modules;
mod numbers;
mod texts;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::rhai::module_resolvers::{DummyModuleResolver, StaticModuleResolver};
use ::rhai::packages::{Package, StandardPackage};
use ::rhai::{AST, CallFnOptions, Dynamic, Engine, LexError, Scope, Shared, Token};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{JobRuntime, Loaded, NotLoaded, Program, Sandbox};
use crate::capabilities::{JobContext, check_result};
use crate::model::{
    Description, ErrorCode, JobError, LoadError, LogLevel, PluginFiles, PluginKind,
};

const OPERATIONS_TO_DESCRIBE: u64 = 1_000_000;
const TIME_TO_DESCRIBE: Duration = Duration::from_secs(2);
const CALL_LEVELS: usize = 48;
const EXPRESSION_DEPTH: usize = 64;
const STRING_BYTES: usize = 10 * 1024 * 1024;
/// Limits while a playbook is loaded. Elements count through nested arrays and maps.
const ARRAY_ELEMENTS: usize = 10_000;
const MAP_ENTRIES: usize = 5_000;
const VARIABLES: usize = 1_000;
const FUNCTIONS: usize = 500;
/// Size of a playbook's source, in bytes.
const SOURCE_BYTES: u64 = 1024 * 1024;
/// Operations between two checks of the clock and the stop signal. Checking at every operation makes a
/// loop 1.7 times as slow, this interval 1.06 times.
const OPERATIONS_PER_LOOK: u64 = 4_096;

pub struct RhaiRuntime {
    modules: Arc<Modules>,
    /// The functions that every playbook can call.
    known: calls::Known,
    sandbox: Sandbox,
}

/// The parts that all engines share.
struct Modules {
    standard: Shared<::rhai::Module>,
    host: host::HostModules,
    /// The engine for the next run, built in advance.
    spare: Mutex<Option<Engine>>,
}

struct Playbook {
    file: String,
    ast: AST,
    modules: Arc<Modules>,
    imported: StaticModuleResolver,
    sandbox: Sandbox,
}

impl RhaiRuntime {
    #[must_use]
    pub fn new(sandbox: Sandbox) -> Self {
        let modules = Arc::new(Modules::new());
        let known = calls::registered(&modules.engine());
        Self {
            modules,
            known,
            sandbox,
        }
    }

    /// Compiles a playbook and calls its `describe`.
    ///
    /// # Errors
    /// The error with file, line and column.
    pub fn load(&self, files: &PluginFiles) -> Result<Loaded, LoadError> {
        let name = files.name.clone();
        let imported = modules::compile(files, |imported| self.engine_to_describe(imported))?;
        let engine = self.engine_to_describe(imported.clone());
        let mut defined = modules::Defined::default();
        for (path, source) in &files.modules {
            let file = format!("{path}.rhai");
            let ast = modules::compile_source(&engine, &file, source)?;
            defined.add(&file, &ast)?;
            calls::check(&file, &ast, &self.known, &imported)?;
        }
        let ast = modules::compile_source(&engine, &name, &files.main)?;
        defined.add(&name, &ast)?;
        expect_functions(&name, &ast)?;
        calls::check(&name, &ast, &self.known, &imported)?;
        let described: Dynamic = engine
            .call_fn(&mut Scope::new(), &ast, "describe", ())
            .map_err(|error| errors::load_error(&name, "describe", &error))?;
        let described = values::to_json(&described)
            .map_err(|message| LoadError::new(&name, format!("describe() returned {message}")))?;
        let description: Description = serde_json::from_value(described).map_err(|error| {
            LoadError::new(
                &name,
                format!("describe() returned an invalid description: {error}"),
            )
        })?;
        let program = Playbook {
            file: name,
            ast,
            modules: Arc::clone(&self.modules),
            imported,
            sandbox: self.sandbox,
        };
        Ok(Loaded {
            description,
            program: Arc::new(program),
        })
    }
}

#[async_trait]
impl JobRuntime for RhaiRuntime {
    fn kind(&self) -> PluginKind {
        PluginKind::Rhai
    }

    fn extension(&self) -> &'static str {
        "rhai"
    }

    fn read(&self, file: &Path) -> Result<PluginFiles, LoadError> {
        modules::read(&self.modules.engine(), file, SOURCE_BYTES)
    }

    async fn load(&self, files: &Arc<PluginFiles>) -> Result<Loaded, NotLoaded> {
        Ok(Self::load(self, files)?)
    }
}

impl RhaiRuntime {
    /// Builds an engine for code that runs while a playbook is loaded, with tighter limits than a job's.
    fn engine_to_describe(&self, imported: StaticModuleResolver) -> Engine {
        let mut engine = self.modules.engine();
        engine
            .set_max_operations(OPERATIONS_TO_DESCRIBE)
            .set_max_string_size(STRING_BYTES)
            .set_max_array_size(ARRAY_ELEMENTS)
            .set_max_map_size(MAP_ENTRIES);
        engine.set_module_resolver(imported);
        let begun = Instant::now();
        engine.on_progress(move |operations| {
            let late = operations % OPERATIONS_PER_LOOK == 0 && begun.elapsed() > TIME_TO_DESCRIBE;
            late.then(|| Dynamic::from("timeout: describe() took too long"))
        });
        engine
    }
}

#[async_trait]
impl Program for Playbook {
    async fn run(&self, context: Arc<JobContext>) -> Result<Value, JobError> {
        let run = PlaybookRun {
            file: self.file.clone(),
            ast: self.ast.clone(),
            modules: Arc::clone(&self.modules),
            imported: self.imported.clone(),
            sandbox: self.sandbox,
            context,
        };
        let span = tracing::Span::current();
        let (done, ended) = oneshot::channel();
        let running = tokio::task::spawn_blocking(move || span.in_scope(|| run.finish(done)));
        match ended.await {
            Ok(result) => result,
            Err(_) => {
                let panic = running.await.err();
                tracing::error!(?panic, "the thread of a playbook panicked");
                Err(JobError::new(
                    ErrorCode::INTERNAL,
                    "internal error while running the playbook; see the server's log",
                ))
            }
        }
    }
}

/// A run of a playbook on its own thread.
struct PlaybookRun {
    file: String,
    ast: AST,
    modules: Arc<Modules>,
    imported: StaticModuleResolver,
    sandbox: Sandbox,
    context: Arc<JobContext>,
}

impl PlaybookRun {
    /// Sends the outcome, then cleans up and builds the engine for the next run.
    fn finish(self, done: oneshot::Sender<Result<Value, JobError>>) {
        let handle = host::Handle::new(Arc::clone(&self.context), self.sandbox);
        let engine = self.engine(&handle);
        let _ = done.send(self.outcome(&engine, &handle));
        drop(engine);
        self.modules.make_spare();
    }

    fn outcome(&self, engine: &Engine, handle: &host::Handle) -> Result<Value, JobError> {
        let facts = self.context.job();
        let job = host::job_map(facts);
        let params = values::from_json(&facts.params).map_err(|message| {
            JobError::new(ErrorCode::INVALID, format!("the parameters have {message}"))
        })?;
        let options = CallFnOptions::new().with_tag(Dynamic::from(handle.clone()));
        let returned: Result<Dynamic, _> = engine.call_fn_with_options(
            options,
            &mut Scope::new(),
            &self.ast,
            "run",
            (job, params),
        );
        // A script can swallow these errors (`sort` ignores an error of its comparison function), so
        // they are checked again here.
        if let Some(reason) = self.context.stop().reason() {
            return Err(reason.into());
        }
        if returned.is_ok() && handle.computed() > self.sandbox.cpu {
            let error = self.sandbox.out_of_cpu();
            let message = format!("{}: {}", self.file, error.message);
            return Err(JobError { message, ..error });
        }
        let result = returned.map_err(|error| errors::job_error(&self.file, &error))?;
        let result = values::to_json(&result).map_err(|message| {
            JobError::new(
                ErrorCode::SCRIPT,
                format!("{}: run() returned {message}", self.file),
            )
        })?;
        check_result(result)
    }

    fn engine(&self, handle: &host::Handle) -> Engine {
        let spare = self.modules.spare.lock().take();
        let mut engine = spare.unwrap_or_else(|| self.modules.engine());
        if !self.imported.is_empty() {
            engine.set_module_resolver(self.imported.clone());
        }
        let (looking, sandbox) = (handle.clone(), self.sandbox);
        engine.on_progress(move |operations| {
            if looking.is_out_of_memory() {
                return Some(Dynamic::from(sandbox.out_of_memory()));
            }
            if operations % OPERATIONS_PER_LOOK != 0 {
                return None;
            }
            looking.end().map(Dynamic::from)
        });
        // The only possible error is that the job was stopped, and the next operation notices that.
        let printing = handle.clone();
        engine.on_print(move |text| {
            let _ = printing.answer(
                async |job| job.log(LogLevel::Info, text, None).await,
                |()| (),
            );
        });
        let printing = handle.clone();
        engine.on_debug(move |text, _source, position| {
            let line = position.line().unwrap_or_default();
            let text = format!("line {line}: {text}");
            let _ = printing.answer(
                async |job| job.log(LogLevel::Debug, &text, None).await,
                |()| (),
            );
        });
        engine
    }
}

impl Modules {
    fn new() -> Self {
        Self {
            standard: StandardPackage::new().as_shared_module(),
            host: host::HostModules::new(),
            spare: Mutex::default(),
        }
    }

    fn make_spare(&self) {
        let missing = self.spare.lock().is_none();
        if missing {
            let engine = self.engine();
            *self.spare.lock() = Some(engine);
        }
    }

    /// Builds an engine with the language, the host's functions, the sandbox's limits, and nothing else.
    fn engine(&self) -> Engine {
        let mut engine = Engine::new_raw();
        engine
            .set_max_call_levels(CALL_LEVELS)
            .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
            .set_max_variables(VARIABLES)
            .set_max_functions(FUNCTIONS)
            // Counts executed imports. The number of modules is limited when they are read.
            .set_max_modules(usize::MAX)
            .set_module_resolver(DummyModuleResolver::new())
            .disable_symbol("eval")
            .set_fail_on_invalid_map_property(true)
            .register_global_module(Shared::clone(&self.standard));
        memory::bound_depth(&mut engine);
        refuse_inexact_integers(&mut engine);
        // Registered after the standard packages, so that the host's `sleep` replaces their blocking
        // one.
        self.host.register(&mut engine);
        engine
    }
}

/// Rejects integer literals that the language would silently turn into floats.
fn refuse_inexact_integers(engine: &mut Engine) {
    #[expect(
        deprecated,
        reason = "the documentation calls it volatile, not deprecated"
    )]
    engine.on_parse_token(|token, _position, _state| match token {
        Token::FloatConstant(float) if crate::numbers::is_integer(&float.1) => {
            let message = format!(
                "the integer {} is out of range: expected one of 64 bits, or parse_int(\"…\")",
                float.1
            );
            Token::LexError(LexError::Runtime(message).into())
        }
        token => token,
    });
}

fn expect_functions(file: &str, ast: &AST) -> Result<(), LoadError> {
    for (name, arguments, signature) in [
        ("describe", 0, "describe()"),
        ("run", 2, "run(job, params)"),
    ] {
        let defined = ast
            .iter_functions()
            .any(|function| function.name == name && function.params.len() == arguments);
        if !defined {
            let message = format!("function `{signature}` not found; a playbook must define it");
            return Err(LoadError::new(file, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
