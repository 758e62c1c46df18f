//! Tests that each method of each role is called by a scenario.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Returns the Rust files of a directory below `src/storage`, without its subdirectories.
fn sources(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = std::fs::read_dir(root.join(directory)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect()
}

fn tokens(file: &Path) -> Vec<TokenTree> {
    let text = std::fs::read_to_string(file).unwrap();
    let tokens: TokenStream = text.parse().unwrap();
    tokens.into_iter().collect()
}

/// Returns the methods of the public traits in a file, as `Role::method`.
fn methods(tokens: &[TokenTree]) -> Vec<String> {
    let is_word = |token: &TokenTree, word: &str| token.to_string() == word;
    let mut methods = Vec::new();
    let traits = tokens.windows(2).enumerate();
    for (at, pair) in traits.filter(|(_, pair)| is_word(&pair[0], "trait")) {
        let body = tokens[at..].iter().find_map(|token| match token {
            TokenTree::Group(body) => Some(body.stream()),
            _ => None,
        });
        let body: Vec<_> = body.unwrap().into_iter().collect();
        let functions = body.windows(2).filter(|pair| is_word(&pair[0], "fn"));
        methods.extend(functions.map(|function| format!("{}::{}", pair[1], function[1])));
    }
    methods
}

/// Collects the names of called methods.
fn calls(tokens: &[TokenTree], called: &mut BTreeSet<String>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let inner: Vec<_> = group.stream().into_iter().collect();
            calls(&inner, called);
        }
        if let [
            TokenTree::Punct(dot),
            TokenTree::Ident(name),
            TokenTree::Group(arguments),
            ..,
        ] = &tokens[at..]
            && dot.as_char() == '.'
            && arguments.delimiter() == Delimiter::Parenthesis
        {
            called.insert(name.to_string());
        }
    }
}

#[test]
fn each_method_of_a_role_is_called_by_a_scenario() {
    let mut roles = sources("storage");
    roles.retain(|file| !file.ends_with("conformance.rs"));
    let methods: Vec<_> = roles
        .iter()
        .flat_map(|file| methods(&tokens(file)))
        .collect();
    // At the time of writing, 17 roles have 105 methods.
    assert!(methods.len() > 80, "{methods:?}");
    let mut called = BTreeSet::new();
    for file in sources("storage/conformance") {
        calls(&tokens(&file), &mut called);
    }
    let is_called = |method: &&String| {
        let (_, name) = method.split_once("::").unwrap();
        called.contains(name)
    };
    let not_called: Vec<_> = methods.iter().filter(|it| !is_called(it)).collect();
    assert!(not_called.is_empty(), "without a scenario: {not_called:?}");
}

#[test]
fn methods_and_calls_are_found() {
    let parse = |text: &str| {
        let tokens: TokenStream = text.parse().unwrap();
        tokens.into_iter().collect::<Vec<_>>()
    };
    let source = "struct A { b: u8 } #[a] pub trait Role: Send { async fn one(&self) -> u8; fn two(&self) { self.three() } }";
    assert_eq!(methods(&parse(source)), ["Role::one", "Role::two"]);
    let mut called = BTreeSet::new();
    let source = "async { if a.one(1).await { b.field.two() } else { four() } }";
    calls(&parse(source), &mut called);
    assert_eq!(called.into_iter().collect::<Vec<_>>(), ["one", "two"]);
}
