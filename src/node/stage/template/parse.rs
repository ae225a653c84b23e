//! Reading a template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Template, functions};
use crate::node::stage::literal;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    Text(String),
    Print(Pipe),
    /// Gives a variable a value; a new one, when it is declared.
    Set(String, bool, Pipe),
    If(Pipe, Vec<Self>, Vec<Self>),
    With(Option<String>, Pipe, Vec<Self>, Vec<Self>),
    /// For each item: variables for its place and itself.
    Range(Option<String>, Option<String>, Pipe, Vec<Self>, Vec<Self>),
    Template(String, Option<Pipe>),
    Break,
    Continue,
}

/// Calls, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipe(pub(super) Vec<Vec<Term>>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Fields of the value at hand.
    Dot(Vec<String>),
    /// A variable, and fields of it.
    Variable(String, Vec<String>),
    Function(String),
    Literal(Value),
    Pipe(Pipe, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Variable(String, Vec<String>),
    Dot(Vec<String>),
    Literal(Value),
    Open,
    /// A parenthesis, with the fields that follow it.
    Close(Vec<String>),
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// An action, or the text between two.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(in crate::node::stage) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            pieces: pieces(text)?.into_iter(),
            defined: BTreeMap::new(),
            wanted: BTreeSet::new(),
            variables: vec!["$".to_owned()],
            loops: 0,
        };
        let (body, end) = parser.blocks()?;
        if let Some(end) = end {
            return Err(format!("unexpected {{{{{}}}}}", end.name()));
        }
        let missing = parser
            .wanted
            .iter()
            .find(|name| !parser.defined.contains_key(*name));
        if let Some(name) = missing {
            return Err(format!("template {name:?} not defined"));
        }
        Ok(Self {
            body,
            defined: parser.defined,
        })
    }
}

/// Cuts a template into texts and actions.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut rest, mut pieces) = (text, Vec::new());
    let mut trims = false;
    loop {
        let (before, action) = match rest.split_once("{{") {
            Some((before, action)) => (before, Some(action)),
            None => (rest, None),
        };
        let left = action.and_then(|action| action.strip_prefix('-'));
        let left = left.filter(|after| after.starts_with(char::is_whitespace));
        let mut before = if trims { before.trim_start() } else { before };
        if left.is_some() {
            before = before.trim_end();
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(action) = action else {
            return Ok(pieces);
        };
        let action = left.unwrap_or(action);
        let (inside, after) = match action.trim_start().strip_prefix("/*") {
            Some(comment) => {
                let (_, after) = comment.split_once("*/").ok_or("unclosed comment")?;
                let (inside, after) = after.split_once("}}").ok_or("unclosed action")?;
                (inside, after)
            }
            None => closed(action).ok_or("unclosed action")?,
        };
        let right = inside.strip_suffix('-');
        let right =
            right.filter(|inside| inside.is_empty() || inside.ends_with(char::is_whitespace));
        trims = right.is_some();
        let is_comment = action.trim_start().starts_with("/*");
        if !is_comment {
            pieces.push(Piece::Action(tokens(right.unwrap_or(inside))?));
        }
        rest = after;
    }
}

/// What is before the end of an action, and what after; ends in texts do not count.
fn closed(action: &str) -> Option<(&str, &str)> {
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in action.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '"' | '`') => quote = Some(letter),
            None if action.get(at..)?.starts_with("}}") => {
                return Some((action.get(..at)?, action.get(at + 2..)?));
            }
            Some(_) | None => {}
        }
    }
    None
}

fn tokens(mut text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = text.chars().next() else {
            return Ok(tokens);
        };
        let (token, rest) = match first {
            '|' => (Token::Pipe, text.get(1..)),
            ',' => (Token::Comma, text.get(1..)),
            '(' => (Token::Open, text.get(1..)),
            '=' => (Token::Assign, text.get(1..)),
            ':' if text.starts_with(":=") => (Token::Declare, text.get(2..)),
            ')' => {
                let (fields, rest) = fields(text.get(1..).unwrap_or_default());
                (Token::Close(fields), Some(rest))
            }
            '.' => {
                let (fields, rest) = fields(text);
                let rest = if fields.is_empty() {
                    text.get(1..)
                } else {
                    Some(rest)
                };
                (Token::Dot(fields), rest)
            }
            '$' => {
                let (name, rest) = word(text.get(1..).unwrap_or_default());
                let (fields, rest) = fields(rest);
                (Token::Variable(format!("${name}"), fields), Some(rest))
            }
            '`' => {
                let inside = text.get(1..).and_then(|text| text.split_once('`'));
                let (raw, rest) = inside.ok_or("unterminated raw quoted string")?;
                (Token::Literal(raw.into()), Some(rest))
            }
            '"' | '0'..='9' | '-' => {
                let read = literal(text).ok_or_else(|| format!("bad literal at {text:?}"))?;
                (Token::Literal(read.0), Some(read.1))
            }
            _ => {
                let (name, rest) = word(text);
                if name.is_empty() {
                    return Err(format!("unexpected {first:?} in command"));
                }
                let token = match name {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    name => Token::Word(name.to_owned()),
                };
                (token, Some(rest))
            }
        };
        tokens.push(token);
        text = rest.unwrap_or_default();
    }
}

fn word(text: &str) -> (&str, &str) {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.split_at(text.find(|letter| !is_letter(letter)).unwrap_or(text.len()))
}

/// Fields: `.a.b`.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut fields = Vec::new();
    while let Some(rest) = text.strip_prefix('.') {
        let (name, rest) = word(rest);
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
        text = rest;
    }
    (fields, text)
}

/// What a list of blocks ended with.
enum End {
    End,
    Else(Vec<Token>),
}

impl End {
    fn name(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else(_) => "else",
        }
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    defined: BTreeMap<String, Vec<Block>>,
    wanted: BTreeSet<String>,
    variables: Vec<String>,
    loops: usize,
}

impl Parser {
    fn blocks(&mut self) -> Result<(Vec<Block>, Option<End>), String> {
        let scope = self.variables.len();
        let mut blocks = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut tokens = match piece {
                Piece::Text(text) => {
                    blocks.push(Block::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = |tokens: &mut Vec<Token>| tokens.split_off(1);
            let block = match &*keyword {
                "end" => {
                    self.variables.truncate(scope);
                    return Ok((blocks, Some(End::End)));
                }
                "else" => {
                    self.variables.truncate(scope);
                    return Ok((blocks, Some(End::Else(rest(&mut tokens)))));
                }
                "if" => self.condition(&rest(&mut tokens))?,
                "with" => self.with(&rest(&mut tokens))?,
                "range" => self.range(&rest(&mut tokens))?,
                "define" => {
                    self.define(&rest(&mut tokens))?;
                    continue;
                }
                "template" => self.template(&rest(&mut tokens))?,
                "break" | "continue" if self.loops == 0 => {
                    return Err(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                }
                "break" => Block::Break,
                "continue" => Block::Continue,
                _ => self.action(&tokens)?,
            };
            blocks.push(block);
        }
        self.variables.truncate(scope);
        Ok((blocks, None))
    }

    /// The blocks up to the end of an action that holds some, and those behind `else`.
    fn body(&mut self) -> Result<(Vec<Block>, Vec<Block>), String> {
        let (then, end) = self.blocks()?;
        match end.ok_or("unexpected EOF")? {
            End::End => Ok((then, Vec::new())),
            End::Else(tokens) => Ok((then, self.otherwise(&tokens)?)),
        }
    }

    fn otherwise(&mut self, tokens: &[Token]) -> Result<Vec<Block>, String> {
        match tokens.split_first() {
            None => {
                let (blocks, end) = self.blocks()?;
                match end.ok_or("unexpected EOF")? {
                    End::End => Ok(blocks),
                    End::Else(_) => Err("unexpected {{else}}".to_owned()),
                }
            }
            // The end is that of the whole.
            Some((Token::Word(word), rest)) if word == "if" => Ok(vec![self.condition(rest)?]),
            Some((Token::Word(word), rest)) if word == "with" => Ok(vec![self.with(rest)?]),
            Some(_) => Err("unexpected token behind {{else}}".to_owned()),
        }
    }

    fn condition(&mut self, tokens: &[Token]) -> Result<Block, String> {
        let pipe = self.pipe(tokens)?;
        let (then, otherwise) = self.body()?;
        Ok(Block::If(pipe, then, otherwise))
    }

    fn with(&mut self, tokens: &[Token]) -> Result<Block, String> {
        let (names, tokens) = declared(tokens);
        let pipe = self.pipe(tokens)?;
        let name = names.into_iter().next();
        let scope = self.variables.len();
        self.variables.extend(name.clone());
        let (then, otherwise) = self.body()?;
        self.variables.truncate(scope);
        Ok(Block::With(name, pipe, then, otherwise))
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Block, String> {
        let (mut names, tokens) = declared(tokens);
        let pipe = self.pipe(tokens)?;
        let value = names.pop();
        let place = names.pop();
        let scope = self.variables.len();
        self.variables.extend(place.iter().chain(&value).cloned());
        self.loops += 1;
        let (body, end) = self.blocks()?;
        self.loops -= 1;
        let otherwise = match end.ok_or("unexpected EOF")? {
            End::End => Vec::new(),
            End::Else(tokens) => self.otherwise(&tokens)?,
        };
        self.variables.truncate(scope);
        Ok(Block::Range(place, value, pipe, body, otherwise))
    }

    fn define(&mut self, tokens: &[Token]) -> Result<(), String> {
        let [Token::Literal(Value::String(name))] = tokens else {
            return Err("unexpected token in define clause".to_owned());
        };
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, end) = self.blocks()?;
        (self.variables, self.loops) = (outer, loops);
        match end {
            Some(End::End) => {
                self.defined.insert(name.clone(), body);
                Ok(())
            }
            _ => Err("unexpected EOF in define clause".to_owned()),
        }
    }

    fn template(&mut self, tokens: &[Token]) -> Result<Block, String> {
        let Some((Token::Literal(Value::String(name)), rest)) = tokens.split_first() else {
            return Err("unexpected token in template clause".to_owned());
        };
        self.wanted.insert(name.clone());
        let pipe = (!rest.is_empty()).then(|| self.pipe(rest)).transpose()?;
        Ok(Block::Template(name.clone(), pipe))
    }

    fn action(&mut self, tokens: &[Token]) -> Result<Block, String> {
        if let [
            Token::Variable(name, fields),
            Token::Declare | Token::Assign,
            rest @ ..,
        ] = tokens
            && fields.is_empty()
        {
            let pipe = self.pipe(rest)?;
            let declares = tokens.get(1) == Some(&Token::Declare);
            if declares {
                self.variables.push(name.clone());
            } else if !self.variables.contains(name) {
                return Err(format!("undefined variable {name:?}"));
            }
            return Ok(Block::Set(name.clone(), declares, pipe));
        }
        Ok(Block::Print(self.pipe(tokens)?))
    }

    fn pipe(&self, tokens: &[Token]) -> Result<Pipe, String> {
        let mut tokens = tokens.iter();
        let pipe = self.pipe_to(&mut tokens, 0)?.0;
        Ok(pipe)
    }

    /// The pipe up to a parenthesis or the end, and the fields of the parenthesis.
    fn pipe_to(
        &self,
        tokens: &mut std::slice::Iter<'_, Token>,
        depth: usize,
    ) -> Result<(Pipe, Vec<String>), String> {
        const DEEPEST: usize = 32;
        if depth > DEEPEST {
            return Err("parentheses are nested too deeply".to_owned());
        }
        let (mut commands, mut command) = (Vec::new(), Vec::new());
        let mut closing = None;
        while let Some(token) = tokens.next() {
            match token {
                Token::Pipe => commands.push(std::mem::take(&mut command)),
                Token::Open => {
                    let (pipe, fields) = self.pipe_to(tokens, depth + 1)?;
                    command.push(Term::Pipe(pipe, fields));
                }
                Token::Close(fields) => {
                    closing = Some(fields.clone());
                    break;
                }
                Token::Dot(fields) => command.push(Term::Dot(fields.clone())),
                Token::Variable(name, fields) => {
                    if !self.variables.contains(name) {
                        return Err(format!("undefined variable {name:?}"));
                    }
                    command.push(Term::Variable(name.clone(), fields.clone()));
                }
                Token::Literal(value) => command.push(Term::Literal(value.clone())),
                Token::Word(name) if functions::is_known(name) => {
                    command.push(Term::Function(name.clone()));
                }
                Token::Word(name) => return Err(format!("function {name:?} not defined")),
                Token::Declare | Token::Assign | Token::Comma => {
                    return Err("unexpected token in command".to_owned());
                }
            }
        }
        commands.push(command);
        if commands.iter().any(Vec::is_empty) {
            return Err("missing value for command".to_owned());
        }
        match (closing, depth) {
            (None, 0) => Ok((Pipe(commands), Vec::new())),
            (None, _) => Err("unclosed left paren".to_owned()),
            (Some(_), 0) => Err("unexpected right paren".to_owned()),
            (Some(fields), _) => Ok((Pipe(commands), fields)),
        }
    }
}

/// The variables that an action declares, and the rest: `$i, $x := …`.
fn declared(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    match tokens {
        [Token::Variable(one, _), Token::Declare, rest @ ..] => (vec![one.clone()], rest),
        [
            Token::Variable(one, _),
            Token::Comma,
            Token::Variable(two, _),
            Token::Declare,
            rest @ ..,
        ] => (vec![one.clone(), two.clone()], rest),
        _ => (Vec::new(), tokens),
    }
}
