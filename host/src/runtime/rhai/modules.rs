//! Shared code of playbooks: `import "lib/parsers" as p;` loads `lib/parsers.rhai` from the scripts
//! directory.
//!
//! Modules are read together with the playbook and become part of it: nothing is read while a job runs.
//! Neither `..`, an absolute path nor a link leads out of the directory.

use std::collections::BTreeMap;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use rhai::module_resolvers::StaticModuleResolver;
use rhai::{AST, ASTNode, Engine, Expr, Module, Position, Scope, Stmt};

use super::errors;
use crate::model::{LoadError, NONBLOCK, PluginFiles, read_regular};

/// Modules that one playbook may import, directly and indirectly.
pub(super) const MODULES: usize = 64;
/// Total size of a playbook and its modules, in bytes.
const BYTES: usize = 4 * 1024 * 1024;
const DIRECTORY: &str = "lib/";

/// Reads a playbook and all modules that it imports, directly and indirectly.
///
/// # Errors
/// If a module is not found; the error has the position of the import.
pub(super) fn read(engine: &Engine, file: &Path, most: u64) -> Result<PluginFiles, LoadError> {
    let mut files = PluginFiles::read(file, most)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let Ok(directory) = Dir::open_ambient_dir(directory, ambient_authority()) else {
        return Ok(files);
    };
    let mut options = OpenOptions::new();
    let mut bytes = files.main.len();
    let mut ahead = imports_of(engine, &files.name, &files.main)?;
    while let Some(import) = ahead.pop() {
        if files.modules.contains_key(&import.path) {
            continue;
        }
        let path = import.file();
        let opened = directory.open_with(&path, options.read(true).custom_flags(NONBLOCK));
        let read = opened.and_then(|file| read_regular(file.into_std(), BYTES as u64));
        let module = read.map_err(|error| import.error(format!("`{path}`: {error}")))?;
        bytes += module.len();
        if bytes > BYTES || files.modules.len() >= MODULES {
            return Err(import.error(format!(
                "too many modules: at most {MODULES} modules and {BYTES} bytes in all are allowed"
            )));
        }
        ahead.extend(imports_of(engine, &path, &module)?);
        files.modules.insert(import.path, module);
    }
    Ok(files)
}

/// Compiles the modules of a playbook, each after the modules that it imports.
///
/// # Errors
/// The first module that does not compile, with the position.
pub(super) fn compile(
    files: &PluginFiles,
    new_engine: impl Fn(StaticModuleResolver) -> Engine,
) -> Result<StaticModuleResolver, LoadError> {
    let mut building = Building {
        sources: &files.modules,
        new_engine,
        made: StaticModuleResolver::new(),
        begun: Vec::new(),
    };
    for path in files.modules.keys() {
        building.make(path)?;
    }
    Ok(building.made)
}

struct Building<'a, F> {
    sources: &'a BTreeMap<String, Vec<u8>>,
    new_engine: F,
    made: StaticModuleResolver,
    /// Modules that wait for their imports to compile. Importing one of these is a cycle.
    begun: Vec<String>,
}

impl<F: Fn(StaticModuleResolver) -> Engine> Building<'_, F> {
    fn make(&mut self, path: &str) -> Result<(), LoadError> {
        let Some(source) = self.sources.get(path) else {
            return Ok(());
        };
        if self.made.contains_path(path) {
            return Ok(());
        }
        let file = format!("{path}.rhai");
        let engine = (self.new_engine)(self.made.clone());
        let ast = compile_source(&engine, &file, source)?;
        self.begun.push(path.to_owned());
        for import in imports(&file, &ast)? {
            if self.begun.contains(&import.path) {
                let circle = self.begun.join(", which imports ");
                return Err(import.error(format!(
                    "cyclic imports are not allowed: {circle}, which imports {} again",
                    import.path
                )));
            }
            self.make(&import.path)?;
        }
        self.begun.pop();
        let engine = (self.new_engine)(self.made.clone());
        let module = Module::eval_ast_as_new(Scope::new(), &ast, &engine)
            .map_err(|error| errors::load_error(&file, "the module", &error))?;
        self.made.insert(path, module);
        Ok(())
    }
}

/// The functions that the files of one playbook define.
///
/// Rhai 1.27 caches the target of an unqualified call by the function's name and number of arguments,
/// across files: with two functions alike, it would silently call the wrong one.
#[derive(Default)]
pub(super) struct Defined(BTreeMap<(String, usize), String>);

impl Defined {
    /// Adds the functions of a file.
    ///
    /// # Errors
    /// If another file defines a function with the same name and number of arguments.
    pub(super) fn add(&mut self, file: &str, ast: &AST) -> Result<(), LoadError> {
        // The names of anonymous functions are hashes of their code.
        let named = ast
            .iter_functions()
            .filter(|function| !function.name.starts_with("anon$"));
        for function in named {
            let arguments = function.params.len();
            let key = (function.name.to_owned(), arguments);
            let first = self.0.entry(key).or_insert_with(|| file.to_owned());
            if first.as_str() != file {
                return Err(LoadError::new(
                    file,
                    format!(
                        "duplicate function `{}` with {arguments} arguments: {first} defines it as \
                         well; functions of a playbook and its modules, including private ones, need \
                         different names",
                        function.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Compiles the source of a playbook or module.
///
/// # Errors
/// The error with its position.
pub(super) fn compile_source(engine: &Engine, file: &str, bytes: &[u8]) -> Result<AST, LoadError> {
    let source = std::str::from_utf8(bytes).map_err(|error| {
        let message = format!(
            "expected UTF-8 text, got an invalid byte at position {}",
            error.valid_up_to()
        );
        LoadError::new(file, message)
    })?;
    // Some editors write a byte order mark before the text.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let compiled = engine.compile(source);
    let mut ast = compiled.map_err(|error| errors::load_error(file, "describe", &error.into()))?;
    ast.set_source(file);
    Ok(ast)
}

/// An import statement.
struct Import {
    path: String,
    within: String,
    position: Position,
}

impl Import {
    fn file(&self) -> String {
        format!("{}.rhai", self.path)
    }

    fn error(&self, message: String) -> LoadError {
        errors::at(&self.within, self.position, message)
    }
}

/// Returns the imports of a text; none if it does not compile, because loading it reports that error.
fn imports_of(engine: &Engine, file: &str, bytes: &[u8]) -> Result<Vec<Import>, LoadError> {
    match compile_source(engine, file, bytes) {
        Ok(ast) => imports(file, &ast),
        Err(_) => Ok(Vec::new()),
    }
}

fn imports(file: &str, ast: &AST) -> Result<Vec<Import>, LoadError> {
    let mut found = Vec::new();
    let mut wrong = None;
    ast.walk(&mut |path| {
        let Some(ASTNode::Stmt(Stmt::Import(import, position))) = path.last() else {
            return true;
        };
        let place = if import.0.position().is_none() {
            *position
        } else {
            import.0.position()
        };
        let error = match &import.0 {
            Expr::StringConstant(path, _) if is_module(path) => {
                found.push(Import {
                    path: path.to_string(),
                    within: file.to_owned(),
                    position: place,
                });
                return true;
            }
            Expr::StringConstant(path, _) => format!(
                "invalid module path `{path}`: expected \"lib/name\", without an extension, for a \
                 module in the directory `lib` beside the playbooks"
            ),
            _ => "invalid import: expected a literal path such as \"lib/name\"".to_owned(),
        };
        wrong = Some(errors::at(file, place, error));
        false
    });
    match wrong {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Returns whether a path is `lib/` followed by names of letters, digits, `_` and `-`.
fn is_module(path: &str) -> bool {
    let Some(names) = path.strip_prefix(DIRECTORY) else {
        return false;
    };
    names.split('/').all(|name| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !name.is_empty() && name.chars().all(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_directory_is_a_module() {
        for good in ["lib/parsers", "lib/cisco/ios_xe", "lib/a-1"] {
            assert!(is_module(good), "{good}");
        }
        for bad in [
            "parsers",
            "lib",
            "lib/",
            "lib//x",
            "lib/../x",
            "/lib/x",
            "../lib/x",
            "lib/x.rhai",
            "lib/x/",
            "lib\\x",
            "lib/ü",
        ] {
            assert!(!is_module(bad), "{bad}");
        }
    }
}
