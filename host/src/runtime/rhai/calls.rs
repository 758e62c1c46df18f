//! Detects calls to undefined functions at load time instead of at run time.

use std::collections::{BTreeMap, BTreeSet};

use rhai::module_resolvers::StaticModuleResolver;
use rhai::{AST, ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::errors;
use crate::model::LoadError;
use crate::nearest::nearest;

/// Functions built into the language, which are not registered anywhere.
const BUILT_IN: [&str; 12] = [
    "call",
    "curry",
    "debug",
    "eval",
    "Fn",
    "is_def_fn",
    "is_def_var",
    "is_shared",
    "print",
    "type_of",
    "to_debug",
    "to_string",
];

/// The names of callable functions by namespace. Global functions are under "".
pub(super) type Known = BTreeMap<String, BTreeSet<String>>;

/// Returns all functions registered with an engine.
pub(super) fn registered(engine: &Engine) -> Known {
    let mut known = Known::new();
    let names = engine.collect_fn_metadata(
        None,
        |function| {
            let name = function.metadata.name.to_string();
            Some((function.namespace.to_string(), name))
        },
        true,
    );
    for (namespace, name) in names {
        known.entry(namespace).or_default().insert(name);
    }
    let global = known.entry(String::new()).or_default();
    global.extend(BUILT_IN.map(str::to_owned));
    known
}

/// Checks all calls of a text.
///
/// # Errors
/// The first call to an undefined function, with its position and the most similar known function.
pub(super) fn check(
    file: &str,
    ast: &AST,
    registered: &Known,
    modules: &StaticModuleResolver,
) -> Result<(), LoadError> {
    let own = LocalNames::of(ast);
    let mut wrong = None;
    ast.walk(&mut |path| {
        let (call, position, is_method) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, position))) => (call, *position, false),
            Some(ASTNode::Expr(Expr::MethodCall(call, position))) => (call, *position, true),
            Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => (call, *position, false),
            _ => return true,
        };
        if call.is_operator_call() {
            return true;
        }
        wrong = own
            .missing(call, is_method, registered, modules)
            .map(|message| errors::at(file, place(call, position), message));
        wrong.is_none()
    });
    wrong.map_or(Ok(()), Err)
}

fn place(call: &FnCallExpr, position: Position) -> Position {
    if call.namespace.is_empty() {
        position
    } else {
        call.namespace.position()
    }
}

/// The names that a text defines.
struct LocalNames {
    functions: BTreeSet<String>,
    /// Names of variables and properties, which may hold functions.
    values: BTreeSet<String>,
    /// Paths of the imported modules, by alias.
    imports: BTreeMap<String, String>,
}

impl LocalNames {
    fn of(ast: &AST) -> Self {
        let functions = ast
            .iter_functions()
            .map(|function| function.name.to_owned());
        let parameters = ast.iter_functions().flat_map(|function| function.params);
        let mut own = Self {
            functions: functions.collect(),
            values: parameters.map(str::to_owned).collect(),
            imports: BTreeMap::new(),
        };
        ast.walk(&mut |path| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => {
                    own.values.insert(variable.0.name.to_string());
                }
                Some(ASTNode::Stmt(Stmt::Import(import, _))) => {
                    if let Expr::StringConstant(path, _) = &import.0 {
                        own.imports
                            .insert(import.1.name.to_string(), path.to_string());
                    }
                }
                Some(ASTNode::Expr(Expr::Map(fields, _))) => {
                    let names = fields.0.iter().map(|(name, _)| name.name.to_string());
                    own.values.extend(names);
                }
                // A constant map, which the parser has folded into a value.
                Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => {
                    if let Ok(fields) = value.as_map_ref() {
                        own.values.extend(fields.keys().map(ToString::to_string));
                    }
                }
                Some(ASTNode::Expr(Expr::Property(property, _))) => {
                    own.values.insert(property.2.to_string());
                }
                _ => {}
            }
            true
        });
        own
    }

    fn missing(
        &self,
        call: &FnCallExpr,
        is_method: bool,
        registered: &Known,
        modules: &StaticModuleResolver,
    ) -> Option<String> {
        let name = call.name.as_str();
        if !call.namespace.is_empty() {
            return self.missing_in(&call.namespace.to_string(), name, registered, modules);
        }
        let global = registered.get("")?;
        let known = global.contains(name) || self.functions.contains(name);
        if known || self.values.contains(name) {
            return None;
        }
        let meant = nearest(name, global.iter().chain(&self.functions).cloned());
        let what = if is_method { "method" } else { "function" };
        Some(told(&format!("{what} `{name}` not found"), meant))
    }

    /// Checks a call to a function of a module. Nested modules are left to the engine.
    fn missing_in(
        &self,
        namespace: &str,
        name: &str,
        registered: &Known,
        modules: &StaticModuleResolver,
    ) -> Option<String> {
        let functions: BTreeSet<String> = if let Some(path) = self.imports.get(namespace) {
            let found = modules.iter().find(|(known, _)| *known == path.as_str());
            let (_, module) = found?;
            let functions = module.iter_script_fn_info();
            functions.map(|(_, _, name, ..)| name.to_owned()).collect()
        } else if let Some(functions) = registered.get(namespace) {
            functions.clone()
        } else if namespace.contains("::") {
            return None;
        } else {
            let known = registered.keys().filter(|name| !name.is_empty());
            let meant = nearest(namespace, known.chain(self.imports.keys()).cloned());
            return Some(told(&format!("module `{namespace}` not found"), meant));
        };
        if functions.contains(name) {
            return None;
        }
        let meant = nearest(name, functions.into_iter());
        let message = format!("function `{namespace}::{name}` not found");
        Some(told(
            &message,
            meant.map(|meant| format!("{namespace}::{meant}")),
        ))
    }
}

fn told(message: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.to_owned(),
    }
}
