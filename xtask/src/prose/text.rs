//! Finds the prose in a file: comments, strings with several words, and lines of pages.

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comment,
    /// A documentation comment.
    Doc,
    /// A string literal of several words.
    String,
    /// A line of a Markdown page.
    Page,
}

/// A line of prose.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) kind: Kind,
    /// From 1.
    pub(super) line: usize,
    /// A comment, a paragraph or a sentence begins here.
    pub(super) begins: bool,
    pub(super) text: String,
}

/// Returns the prose of a file; nothing for files of other kinds than the project has prose in.
pub(super) fn passages(file: &str, content: &str) -> Vec<Passage> {
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let mut passages = match extension {
        "rs" => rust(without_unit_tests(content)),
        "js" => script(content),
        "md" => markdown(content),
        "html" => html(content),
        "wit" => lines(content, &["///", "//"]),
        "py" | "toml" | "sh" => lines(content, &["#"]),
        "sql" => lines(content, &["--"]),
        "css" => lines(content, &["/*", "*"]),
        _ => Vec::new(),
    };
    mark_beginnings(&mut passages);
    passages
}

/// A line begins a passage unless it continues the sentence of the line above.
fn mark_beginnings(passages: &mut [Passage]) {
    let ends = |text: &str| text.is_empty() || text.ends_with(['.', ':', '?', '!', '`']);
    let mut last: Option<(Kind, usize, bool)> = None;
    for passage in passages.iter_mut() {
        let continues = last.is_some_and(|(kind, line, ended)| {
            kind == passage.kind && line + 1 == passage.line && !ended
        });
        passage.begins = passage.kind == Kind::String || !continues;
        last = Some((passage.kind, passage.line, ends(passage.text.trim_end())));
    }
}

fn without_unit_tests(content: &str) -> &str {
    let tests = content.find("\n#[cfg(test)]\nmod tests {");
    tests.map_or(content, |tests| &content[..tests])
}

fn passage(kind: Kind, line: usize, text: &str) -> Passage {
    Passage {
        kind,
        line,
        begins: false,
        text: text.trim().to_owned(),
    }
}

fn rust(content: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let (mut offset, mut line) = (0, 1);
    for token in tokenize(content, FrontmatterAllowed::No) {
        let text = &content[offset..offset + token.len as usize];
        match token.kind {
            TokenKind::LineComment { doc_style } => {
                let kind = doc_style.map_or(Kind::Comment, |_| Kind::Doc);
                let text = text.trim_start_matches('/').trim_start_matches('!');
                passages.push(passage(kind, line, text));
            }
            TokenKind::BlockComment { doc_style, .. } => {
                let kind = doc_style.map_or(Kind::Comment, |_| Kind::Doc);
                let lines = text.lines().enumerate();
                passages.extend(lines.map(|(number, text)| {
                    passage(kind, line + number, text.trim_matches(['/', '*', '!', ' ']))
                }));
            }
            TokenKind::Literal {
                kind: LiteralKind::Str { .. } | LiteralKind::RawStr { .. },
                ..
            } => passages.extend(string(line, text)),
            _ => {}
        }
        line += text.matches('\n').count();
        offset += token.len as usize;
    }
    passages
}

/// A string literal as prose; `None` for one word and for a regular expression.
fn string(line: usize, literal: &str) -> Option<Passage> {
    let text = literal.trim_matches(['r', '#', '"', '`', '\'']);
    let parts = text.split("\\\n").map(str::trim_start);
    let text = parts.collect::<Vec<_>>().concat();
    let is_pattern = text.starts_with('^') || text.contains("(?");
    (text.contains(' ') && !is_pattern).then(|| passage(Kind::String, line, &text))
}

/// Comments and strings of a script, line by line: a string of several lines is a string on each.
fn script(content: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut in_comment = false;
    for (number, line) in (1..).zip(content.lines()) {
        let text = line.trim();
        if in_comment || text.starts_with("/*") || text.starts_with("//") {
            in_comment = (in_comment || text.starts_with("/*")) && !text.contains("*/");
            passages.push(passage(
                Kind::Comment,
                number,
                text.trim_matches(['/', '*', ' ']),
            ));
        } else if text.contains(['"', '\'', '`', '<']) && text.contains(' ') {
            passages.extend(quoted(text).filter_map(|text| string(number, text)));
        }
    }
    passages
}

/// Returns the quoted parts of a line, and all of a line that is inside of a longer template.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let quotes = ['"', '\'', '`'];
    let mut rest = line;
    let mut parts = Vec::new();
    while let Some(start) = rest.find(quotes) {
        let quote = rest[start..].chars().next().unwrap_or('"');
        let inner = &rest[start + 1..];
        let Some(end) = inner.find(quote) else {
            parts.push(inner);
            break;
        };
        parts.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    parts.into_iter()
}

/// Lines of a page outside of blocks of code.
fn markdown(content: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(content.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !line.trim().is_empty() {
            let text = line.trim_matches([' ', '#', '|', '-', '*', '>']);
            passages.push(passage(Kind::Page, number, text));
        }
    }
    passages
}

/// Lines of text between the tags of a page of the dashboard.
fn html(content: &str) -> Vec<Passage> {
    let lines = (1..).zip(content.lines());
    let text = lines.filter(|(_, line)| line.contains(' '));
    text.map(|(number, line)| passage(Kind::String, number, line))
        .collect()
}

fn lines(content: &str, marks: &[&str]) -> Vec<Passage> {
    let lines = (1..).zip(content.lines().map(str::trim));
    let comments = lines.filter_map(|(number, line)| {
        let text = marks.iter().find_map(|mark| line.strip_prefix(mark))?;
        Some(passage(Kind::Comment, number, text))
    });
    comments.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, content: &str) -> Vec<(Kind, usize, bool, String)> {
        let passages = passages(file, content).into_iter();
        passages
            .map(|each| (each.kind, each.line, each.begins, each.text))
            .collect()
    }

    #[test]
    fn prose_of_rust_is_comments_and_strings_outside_of_unit_tests() {
        let source = "//! The head\n//! of a module.\nconst A: &str = \"one\";\n/// A doc.\n\
                      const B: &str = \"two \\\n    words\"; // why.\n/* Of old. */\n\n\
                      #[cfg(test)]\nmod tests {\n    // not read\n}\n";
        let expected = [
            (Kind::Doc, 1, true, "The head"),
            (Kind::Doc, 2, false, "of a module."),
            (Kind::Doc, 4, true, "A doc."),
            (Kind::String, 5, true, "two words"),
            (Kind::Comment, 6, true, "why."),
            (Kind::Comment, 7, true, "Of old."),
        ];
        let expected =
            expected.map(|(kind, line, begins, text)| (kind, line, begins, text.to_owned()));
        assert_eq!(found("a.rs", source), expected);
    }

    #[test]
    fn code_in_pages_is_not_prose() {
        let page = "# A title\n\ntext that\ncontinues\n```\ncode\n```\n- item\n";
        let lines: Vec<_> = found("a.md", page).into_iter().map(|each| each.1).collect();
        assert_eq!(lines, [1, 3, 4, 8]);
    }

    #[test]
    fn strings_of_scripts_are_found_in_each_line() {
        let script = "// a comment\nshow(\"two words\", 'one', `three more words`);\n";
        let texts: Vec<_> = found("a.js", script)
            .into_iter()
            .map(|each| each.3)
            .collect();
        assert_eq!(texts, ["a comment", "two words", "three more words"]);
    }
}
