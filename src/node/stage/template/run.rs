//! Filling a template in.

use serde_json::{Value, json};

use super::Template;
use super::functions::{self, Surroundings, is_true};
use super::parse::{Block, Pipe, Term};

/// What a template gives at most, in bytes.
const LONGEST: usize = 1 << 20;
/// How deep templates may call one another.
const DEEPEST: usize = 16;

/// How a list of blocks ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Template {
    /// Fills the template in with what `data` has.
    ///
    /// # Errors
    /// Where it cannot be.
    pub(in crate::node::stage) fn render(
        &self,
        data: &Value,
        around: &dyn Surroundings,
    ) -> Result<String, String> {
        let mut run = Run {
            template: self,
            around,
            text: String::new(),
            variables: vec![("$".to_owned(), data.clone())],
            depth: 0,
        };
        run.blocks(&self.body, data)?;
        Ok(run.text)
    }
}

struct Run<'a> {
    template: &'a Template,
    around: &'a dyn Surroundings,
    text: String,
    variables: Vec<(String, Value)>,
    depth: usize,
}

impl Run<'_> {
    fn blocks(&mut self, blocks: &[Block], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let mut flow = Flow::On;
        for block in blocks {
            flow = self.block(block, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > LONGEST {
            return Err("the text is too long".to_owned());
        }
        self.text.push_str(text);
        Ok(())
    }

    fn block(&mut self, block: &Block, dot: &Value) -> Result<Flow, String> {
        match block {
            Block::Text(text) => self.write(text)?,
            Block::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                self.write(&functions::shown(&value))?;
            }
            Block::Set(name, declares, pipe) => {
                let value = self.pipe(pipe, dot)?;
                let known = self.variables.iter_mut().rev();
                match known.into_iter().find(|(known, _)| known == name) {
                    Some((_, known)) if !declares => *known = value,
                    _ => self.variables.push((name.clone(), value)),
                }
            }
            Block::If(pipe, then, otherwise) => {
                let holds = is_true(&self.pipe(pipe, dot)?);
                return self.blocks(if holds { then } else { otherwise }, dot);
            }
            Block::With(name, pipe, then, otherwise) => {
                let value = self.pipe(pipe, dot)?;
                let scope = self.variables.len();
                let named = name.iter().map(|name| (name.clone(), value.clone()));
                self.variables.extend(named);
                let flow = if is_true(&value) {
                    self.blocks(then, &value)
                } else {
                    self.blocks(otherwise, dot)
                };
                self.variables.truncate(scope);
                return flow;
            }
            Block::Range(place, item, pipe, body, otherwise) => {
                return self.range((place, item), pipe, (body, otherwise), dot);
            }
            Block::Template(name, pipe) => {
                let value = match pipe {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Value::Null,
                };
                self.call(name, value)?;
            }
            Block::Break => return Ok(Flow::Break),
            Block::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        (place, item): (&Option<String>, &Option<String>),
        pipe: &Pipe,
        (body, otherwise): (&[Block], &[Block]),
        dot: &Value,
    ) -> Result<Flow, String> {
        let items: Vec<(Value, Value)> = match self.pipe(pipe, dot)? {
            Value::Array(items) => (0..).map(|at: usize| json!(at)).zip(items).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {other}")),
        };
        if items.is_empty() {
            return self.blocks(otherwise, dot);
        }
        for (at, value) in items {
            let scope = self.variables.len();
            for (name, value) in [(place, &at), (item, &value)] {
                let named = name.iter().map(|name| (name.clone(), value.clone()));
                self.variables.extend(named);
            }
            let flow = self.blocks(body, &value);
            self.variables.truncate(scope);
            if flow? == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn call(&mut self, name: &str, value: Value) -> Result<(), String> {
        let template = self.template;
        let body = template.defined.get(name);
        let body = body.ok_or_else(|| format!("template {name:?} not defined"))?;
        if self.depth >= DEEPEST {
            return Err("exceeded maximum template depth".to_owned());
        }
        let own = vec![("$".to_owned(), value.clone())];
        let outer = std::mem::replace(&mut self.variables, own);
        self.depth += 1;
        let done = self.blocks(body, &value);
        self.depth -= 1;
        self.variables = outer;
        done.map(drop)
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipe.0 {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&self, command: &[Term], last: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, arguments)) = command.split_first() else {
            return Ok(Value::Null);
        };
        let Term::Function(name) = first else {
            return match (arguments.is_empty(), last) {
                (true, None) => self.term(first, dot),
                _ => Err("can't give argument to non-function".to_owned()),
            };
        };
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.term(argument, dot)?);
        }
        values.extend(last);
        let called = functions::call(name, &values, self.around);
        called.map_err(|why| format!("error calling {name}: {why}"))
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, String> {
        Ok(match term {
            Term::Dot(fields) => field(dot, fields),
            Term::Variable(name, fields) => {
                let mut known = self.variables.iter().rev();
                let known = known.find(|(known, _)| known == name);
                known.map_or(Value::Null, |(_, value)| field(value, fields))
            }
            Term::Literal(value) => value.clone(),
            Term::Pipe(pipe, fields) => field(&self.pipe(pipe, dot)?, fields),
            Term::Function(name) => {
                let called = functions::call(name, &[], self.around);
                called.map_err(|why| format!("error calling {name}: {why}"))?
            }
        })
    }
}

/// A field of a value; null where there is none.
fn field(value: &Value, fields: &[String]) -> Value {
    let mut found = value;
    for name in fields {
        found = found.get(name).unwrap_or(&Value::Null);
    }
    found.clone()
}
