//! Reads EDN text: the part of it that histories are written in.
//!
//! A history has hundreds of thousands of lines and may come from anywhere, so the reader is one pass over bytes with
//! bounded nesting, and an error says on which line it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edn_format::{Keyword, Symbol};

use super::Edn;

/// Deeper values are refused: nothing in a history comes near it, and the reader recurses.
const MAX_DEPTH: usize = 64;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Line of the text, from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ReadError {}

/// A position in a text.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0, line: 1 }
    }

    /// Line of the next byte, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    pub fn error(&self, what: impl Into<String>) -> ReadError {
        ReadError { line: self.line, what: what.into() }
    }

    /// The next byte after blanks, commas, comments and discarded forms, without taking it.
    pub fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        self.skip(0)?;
        Ok(self.byte())
    }

    /// Takes the byte that [`Reader::peek`] showed. It has to be an ASCII one.
    pub fn take(&mut self) {
        if self.byte() == Some(b'\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    /// The next value, or none at the end of the text.
    pub fn next_value(&mut self) -> Result<Option<Edn>, ReadError> {
        match self.peek()? {
            None => Ok(None),
            Some(_) => self.value(0).map(Some),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, depth: usize) -> Result<(), ReadError> {
        while let Some(byte) = self.byte() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => self.take(),
                b';' => {
                    while self.byte().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                b'#' if self.text.as_bytes().get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.value(depth + 1)?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Edn, ReadError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.skip(depth)?;
        match self.byte() {
            None => Err(self.error("the text ends within a value")),
            Some(b'[') => Ok(Edn::Vector(self.sequence(b']', depth)?)),
            Some(b'(') => Ok(Edn::List(self.sequence(b')', depth)?)),
            Some(b'{') => self.map(depth),
            Some(b'"') => self.string().map(Edn::String),
            Some(b'\\') => self.character(),
            Some(b'#') => self.dispatch(depth),
            Some(_) => self.atom(),
        }
    }

    /// What stands between the bracket here and `close`.
    fn sequence(&mut self, close: u8, depth: usize) -> Result<Vec<Edn>, ReadError> {
        self.take();
        let mut values = Vec::new();
        loop {
            self.skip(depth)?;
            if self.byte() == Some(close) {
                self.take();
                return Ok(values);
            }
            values.push(self.value(depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, ReadError> {
        let values = self.sequence(b'}', depth)?;
        if values.len() % 2 != 0 {
            return Err(self.error("a map with a key that has no value"));
        }
        let expected = values.len() / 2;
        let mut map = BTreeMap::new();
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            map.insert(key, value);
        }
        if map.len() != expected {
            return Err(self.error("a map with the same key twice"));
        }
        Ok(Edn::Map(map))
    }

    /// `#{...}` is a set; any other tag is dropped, as only records such as an operation's carry one.
    fn dispatch(&mut self, depth: usize) -> Result<Edn, ReadError> {
        self.take();
        if self.byte() == Some(b'{') {
            let values = self.sequence(b'}', depth)?;
            return Ok(Edn::Set(values.into_iter().collect::<BTreeSet<_>>()));
        }
        let tag = self.word();
        if tag.is_empty() {
            return Err(self.error("# without a tag"));
        }
        self.value(depth + 1)
    }

    fn string(&mut self) -> Result<String, ReadError> {
        self.take();
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(['"', '\\']) else {
                return Err(self.error("the text ends within a string"));
            };
            let plain = &rest[..end];
            self.line += plain.bytes().filter(|byte| *byte == b'\n').count();
            text.push_str(plain);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, ReadError> {
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'u') => {
                let code = self.text.get(self.at..self.at + 4);
                self.at += 4;
                code.and_then(|code| u32::from_str_radix(code, 16).ok())
                    .and_then(char::from_u32)
                    .ok_or_else(|| self.error("a bad \\u in a string"))?
            }
            _ => return Err(self.error("a bad escape in a string")),
        })
    }

    fn character(&mut self) -> Result<Edn, ReadError> {
        self.at += 1;
        let first = self.text[self.at..].chars().next();
        let Some(first) = first else { return Err(self.error("\\ at the end of the text")) };
        let start = self.at;
        self.at += first.len_utf8();
        self.word();
        Ok(Edn::Character(match &self.text[start..self.at] {
            "newline" => '\n',
            "return" => '\r',
            "space" => ' ',
            "tab" => '\t',
            name if name.chars().nth(1).is_none() => first,
            _ => return Err(self.error("an unknown character name")),
        }))
    }

    /// Everything up to a blank, bracket, quote or the end.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end =
            rest.find([' ', '\t', '\r', '\n', ',', '[', ']', '(', ')', '{', '}', '"', ';', '\\']);
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn atom(&mut self) -> Result<Edn, ReadError> {
        let word = self.word();
        match word {
            "" => Err(self.error(format!(
                "unexpected {:?}",
                self.text[self.at..].chars().next().unwrap_or_default()
            ))),
            "nil" => Ok(Edn::Nil),
            "true" => Ok(Edn::Boolean(true)),
            "false" => Ok(Edn::Boolean(false)),
            _ if word.starts_with(':') => self.keyword(&word[1..]),
            _ if starts_number(word) => self.number(word),
            _ => Ok(Edn::Symbol(Symbol::from_name(word))),
        }
    }

    fn keyword(&self, word: &str) -> Result<Edn, ReadError> {
        let keyword = match word.split_once('/') {
            _ if word.is_empty() => return Err(self.error("a : without a name")),
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Keyword::from_namespace_and_name(namespace, name)
            }
            _ => Keyword::from_name(word),
        };
        Ok(Edn::Keyword(keyword))
    }

    fn number(&self, word: &str) -> Result<Edn, ReadError> {
        if let Ok(number) = word.parse::<i64>() {
            return Ok(Edn::Integer(number));
        }
        let float = word.contains(['.', 'e', 'E']).then(|| word.parse::<f64>().ok()).flatten();
        match float {
            Some(number) => Ok(Edn::Float(number.into())),
            None => Err(self.error(format!("{word} is no number of 64 bits"))),
        }
    }
}

fn starts_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    digits.starts_with(|first: char| first.is_ascii_digit())
}
