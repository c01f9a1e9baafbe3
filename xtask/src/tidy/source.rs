//! A file, and its Rust tokens with and without test code.
//!
//! Tokens, not a syntax tree: strings and comments are told apart by the lexer, and the inside of
//! a macro is seen like everything else.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::Finding;
use crate::shell::Outcome;

/// A text file of the repository, by its path from the root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lies wholly under tests: a `tests` folder, or a `tests.rs` declared by `#[cfg(test)]`.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// The tokens of a Rust file.
    pub(crate) fn tokens(&self) -> Outcome<Vec<TokenTree>> {
        let stream: TokenStream = self
            .text
            .parse()
            .map_err(|error| format!("{}: {error}", self.path))?;
        Ok(stream.into_iter().collect())
    }

    /// The tokens of a Rust file without its test items, and the number of lines these take.
    pub(crate) fn code(&self) -> Outcome<(Vec<TokenTree>, usize)> {
        Ok(without_tests(self.tokens()?))
    }
}

/// The first line of a token.
pub(crate) fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

/// Whether a token is this punctuation.
pub(crate) fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether a token is this word.
pub(crate) fn is_ident(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

/// The tokens inside a group.
pub(crate) fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn without_tests(tokens: Vec<TokenTree>) -> (Vec<TokenTree>, usize) {
    let (mut kept, mut lines, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            let end = item_end(&tokens, at);
            lines += tokens[end - 1].span().end().line + 1 - line(&tokens[at]);
            at = end;
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            let (inner, inner_lines) = without_tests(inside(group));
            lines += inner_lines;
            let mut group = Group::new(group.delimiter(), inner.into_iter().collect());
            group.set_span(tokens[at].span());
            kept.push(TokenTree::Group(group));
        } else {
            kept.push(tokens[at].clone());
        }
        at += 1;
    }
    (kept, lines)
}

/// `#[test]`, or `#[cfg(…)]` that asks for `test` and negates nothing.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = tokens else {
        return false;
    };
    if !is_punct(Some(hash), '#') || attribute.delimiter() != Delimiter::Bracket {
        return false;
    }
    let words = inside(attribute);
    if is_ident(words.first(), "test") && words.len() == 1 {
        return true;
    }
    let Some(TokenTree::Group(condition)) = words.get(1) else {
        return false;
    };
    is_ident(words.first(), "cfg") && mentions(condition, "test") && !mentions(condition, "not")
}

fn mentions(group: &Group, word: &str) -> bool {
    group.stream().into_iter().any(|token| match &token {
        TokenTree::Group(inner) => mentions(inner, word),
        _ => is_ident(Some(&token), word),
    })
}

/// Where the item that begins (with its attributes) at `start` ends.
fn item_end(tokens: &[TokenTree], start: usize) -> usize {
    const ITEMS: &[&str] = &[
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "let",
        "macro_rules",
        "mod",
        "pub",
        "static",
        "struct",
        "trait",
        "type",
        "unsafe",
        "use",
    ];
    let mut at = start;
    while is_punct(tokens.get(at), '#') {
        at += 2;
    }
    let is_item = ITEMS.iter().any(|word| is_ident(tokens.get(at), word));
    // `use a::{b, c};` ends at its semicolon, everything else that has a body at its body.
    let is_use = tokens[at..]
        .iter()
        .take(3)
        .any(|token| is_ident(Some(token), "use"));
    while at < tokens.len() {
        let token = tokens.get(at);
        at += 1;
        let body =
            matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace);
        if is_punct(token, ';') || (body && !is_use) || (is_punct(token, ',') && !is_item) {
            break;
        }
    }
    at.min(tokens.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (String, usize) {
        let (tokens, lines) = Source::new("a.rs", text).code().unwrap();
        (
            tokens.into_iter().collect::<TokenStream>().to_string(),
            lines,
        )
    }

    #[test]
    fn test_items_are_left_out_and_their_lines_counted() {
        let (code, lines) = code(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn t<A, B>() {}\n}\n\
             #[cfg(all(test, unix))] use x::{y, z};\n#[test]\n#[should_panic]\nfn t<A, B>() {}\nfn b() {}",
        );
        assert_eq!((code.as_str(), lines), ("fn a () { } fn b () { }", 8));
    }

    #[test]
    fn a_test_field_is_left_out_and_the_next_one_stays() {
        let (code, _) = code("struct S { #[cfg(test)] t: u8, b: u8 }");
        assert_eq!(code, "struct S { b : u8 }");
    }

    #[test]
    fn what_is_built_without_test_stays() {
        let (code, lines) = code("#[cfg(not(test))] fn a() {}");
        assert!(code.contains("fn a") && lines == 0, "{code}");
    }
}
