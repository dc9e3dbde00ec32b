//! A source with all of its mutants in it, each behind a number: `a < b` with the mutants 7 (`<=`) and 8 (`==`) becomes
//! `(if mx::on(7) { a <= b } else if mx::on(8) { a == b } else { a < b })`. Those that such a switch cannot stand for are sorted out: constants are there
//! before a number is known, and some never compile.
//!
//! The places where mutants begin are those of cargo-mutants, which walks the same tree of the same parser.

use std::collections::{HashMap, HashSet};

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, Pat, ReturnType, Type};

use crate::edit::{Edit, Range, render};
use crate::list::{Genre, Mutant, Place};

/// A mutant and its number, from 1.
pub type Numbered<'a> = (u32, &'a Mutant);

/// What a file becomes.
pub struct Switched {
    pub text: String,
    /// Mutants that need a build of their own.
    pub constants: Vec<u32>,
    /// Mutants that compile in no build.
    pub never: Vec<u32>,
}

/// Writes these mutants into their file's source.
pub fn switch(source: &str, mutants: &[Numbered]) -> Result<Switched, String> {
    let tree = syn::parse_file(source).map_err(|error| error.to_string())?;
    let mut walk = Walk::new(source, mutants);
    walk.visit_file(&tree);
    if let Some((_, lost)) = mutants.iter().find(|(number, _)| !walk.seen.contains(number)) {
        let Place { line, column } = lost.start();
        return Err(format!("{}:{line}:{column}: nothing there is a {:?}", lost.file, lost.genre));
    }
    let text = render(source, walk.edits);
    Ok(Switched { text, constants: walk.constants, never: walk.never })
}

struct Walk<'a> {
    source: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    at: HashMap<Place, Vec<Numbered<'a>>>,
    seen: HashSet<u32>,
    edits: Vec<Edit>,
    constants: Vec<u32>,
    never: Vec<u32>,
    /// How many constants, types and patterns are around: nothing in there can be switched.
    fixed: usize,
}

impl<'a> Walk<'a> {
    fn new(source: &'a str, mutants: &[Numbered<'a>]) -> Self {
        let lines = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut at: HashMap<Place, Vec<Numbered>> = HashMap::new();
        for numbered in mutants {
            at.entry(numbered.1.start()).or_default().push(*numbered);
        }
        let seen = HashSet::new();
        Self { source, lines, at, seen, edits: vec![], constants: vec![], never: vec![], fixed: 0 }
    }

    fn offset(&self, at: LineColumn) -> usize {
        let line = &self.source[self.lines[at.line - 1]..];
        self.lines[at.line - 1] + line.char_indices().nth(at.column).map_or(line.len(), |(offset, _)| offset)
    }

    fn range(&self, span: Span) -> Range {
        (self.offset(span.start()), self.offset(span.end()))
    }

    /// The mutants of this kind that begin here.
    fn take(&mut self, span: Span, genre: Genre) -> Vec<Numbered<'a>> {
        let place = Place { line: span.start().line, column: span.start().column + 1 };
        let here = self.at.get(&place).into_iter().flatten();
        let here: Vec<Numbered> = here.filter(|(_, mutant)| mutant.genre == genre).copied().collect();
        let new: Vec<Numbered> = here.into_iter().filter(|(number, _)| self.seen.insert(*number)).collect();
        if self.fixed > 0 {
            self.constants.extend(new.iter().map(|(number, _)| *number));
            return Vec::new();
        }
        new
    }

    fn fixed(&mut self, visit: impl FnOnce(&mut Self)) {
        self.fixed += 1;
        visit(self);
        self.fixed -= 1;
    }

    /// The mutants that return something else at once.
    fn body(&mut self, block: &syn::Block, output: &ReturnType) {
        let Some(first) = block.stmts.first() else { return };
        let mutants = self.take(first.span(), Genre::FnValue);
        if mutants.is_empty() {
            return;
        }
        let chooses = is_opaque(output);
        let mut text = String::new();
        for (number, mutant) in mutants {
            let value =
                if chooses { other_items(&mutant.replacement) } else { Some(mutant.replacement.clone()) };
            match value {
                Some(value) => {
                    text += &format!(
                        "\nif crate::mx::on({number}) {{ /*M{number}*/ return {value}; /*E{number}*/ }}\n"
                    );
                }
                None => self.never.push(number),
            }
        }
        let (open, close) = (block.brace_token.span.open(), block.brace_token.span.close());
        if chooses {
            // Both ways have to be of one type.
            text += "crate::mx::Choice::Own({";
            self.edits.push(Edit::insert(self.offset(close.start()), "})"));
        }
        self.edits.push(Edit::insert(self.offset(open.end()), &text));
    }

    /// A function that is no constant one any more can ask for its number.
    fn signature(&mut self, signature: &syn::Signature) {
        if let Some(token) = &signature.constness {
            self.edits.push(Edit::Cut { all: self.range(token.span) });
        }
    }

    fn guard(&mut self, guard: &Expr) {
        let all = self.range(guard.span());
        let mutants = self.take(guard.span(), Genre::MatchArmGuard);
        if !has_let(guard) {
            let find = |word: &str| mutants.iter().find(|(_, one)| one.replacement == word).map(|(n, _)| *n);
            let (always, never) = (find("true"), find("false"));
            if always.or(never).is_some() {
                self.edits.push(Edit::Guard { all, always, never });
            }
            return;
        }
        for (number, mutant) in mutants {
            match mutant.replacement.as_str() {
                "false" => self.edits.push(Edit::insert(all.0, &format!("!crate::mx::on({number}) && "))),
                // What the arm names would have no value.
                _ => self.never.push(number),
            }
        }
    }

    /// The mutants that take an arm out: it is passed over.
    fn without_arm(&mut self, arm: &syn::Arm) {
        for (number, _) in self.take(arm.span(), Genre::MatchArm) {
            let arrow = self.offset(arm.fat_arrow_token.span().start());
            let word = if arm.guard.is_some() { "&&" } else { "if" };
            self.edits.push(Edit::insert(arrow, &format!(" {word} !crate::mx::on({number}) ")));
            if let Some((_, guard)) = arm.guard.as_ref().filter(|(_, guard)| !has_let(guard)) {
                let (from, to) = self.range(guard.span());
                self.edits.push(Edit::insert(from, "("));
                self.edits.push(Edit::insert(to, ")"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.signature(&item.sig);
        self.body(&item.block, &item.sig.output);
        visit::visit_block(self, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.signature(&item.sig);
        self.body(&item.block, &item.sig.output);
        visit::visit_block(self, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block, &item.sig.output);
            visit::visit_block(self, block);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.fixed(|walk| visit::visit_item_const(walk, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.fixed(|walk| visit::visit_impl_item_const(walk, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.fixed(|walk| visit::visit_item_static(walk, item));
    }

    fn visit_type(&mut self, item: &'ast Type) {
        self.fixed(|walk| visit::visit_type(walk, item));
    }

    fn visit_pat(&mut self, item: &'ast Pat) {
        self.fixed(|walk| visit::visit_pat(walk, item));
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let mutants = self.take(expr.op.span(), Genre::BinaryOperator);
        if has_let(&expr.left) || has_let(&expr.right) {
            // A chain with `let` is joined by `&&` alone.
            self.never.extend(mutants.iter().map(|(number, _)| *number));
        } else if !mutants.is_empty() {
            let ways = mutants.into_iter().map(|(number, one)| (number, one.replacement.clone())).collect();
            let [all, left, right] =
                [expr.span(), expr.left.span(), expr.right.span()].map(|span| self.range(span));
            self.edits.push(Edit::Binary { all, left, right, ways });
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        for (number, _) in self.take(expr.op.span(), Genre::UnaryOperator) {
            let (all, operand) = (self.range(expr.span()), self.range(expr.expr.span()));
            self.edits.push(Edit::Unary { all, operand, number });
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        let (all, mut ways) = (self.range(expr.span()), Vec::new());
        for pair in expr.fields.pairs() {
            let field = self.range(pair.value().span());
            let end = pair.punct().map_or(field.1, |comma| self.range(comma.span()).1);
            for (number, _) in self.take(pair.value().span(), Genre::StructField) {
                let without = format!("{}{}", &self.source[all.0..field.0], &self.source[end..all.1]);
                ways.push((number, without));
            }
        }
        if !ways.is_empty() {
            self.edits.push(Edit::Whole { all, ways });
        }
        visit::visit_expr_struct(self, expr);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        // cargo-mutants takes `_ if ...` for an arm that catches the rest. It is none, so without another arm such a match is not whole.
        let catches = |arm: &syn::Arm| arm.guard.is_none() && matches!(arm.pat, Pat::Wild(_));
        if !expr.arms.iter().any(catches) {
            for arm in &expr.arms {
                let mutants = self.take(arm.span(), Genre::MatchArm);
                self.never.extend(mutants.iter().map(|(number, _)| *number));
            }
        }
        visit::visit_expr_match(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.guard(guard);
        }
        self.without_arm(arm);
        visit::visit_arm(self, arm);
    }
}

/// Whether it says `impl`: then the type of what comes back is that of the body alone.
fn is_opaque(output: &ReturnType) -> bool {
    struct Finds(bool);
    impl Visit<'_> for Finds {
        fn visit_type_impl_trait(&mut self, _: &syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut finds = Finds(false);
    finds.visit_return_type(output);
    finds.0
}

/// The items of a replacement that is an iterator of none or of one.
fn other_items(replacement: &str) -> Option<String> {
    let item = match replacement.strip_prefix("::std::iter::once(") {
        Some(rest) => format!("Some({rest}"),
        None if replacement == "::std::iter::empty()" => "None".to_owned(),
        None => return None,
    };
    Some(format!("crate::mx::Choice::Other({item}.into_iter())"))
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => has_let(&both.left) || has_let(&both.right),
        Expr::Paren(inner) => has_let(&inner.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "const A: u32 = 1 + 2;\nfn f(a: u32, b: u32) -> bool {\n    a + 1 < b\n}\n";

    /// A mutant as cargo-mutants lists it.
    fn mutant(genre: &str, replacement: &str, line: usize, column: usize) -> Mutant {
        let place = format!(r#"{{"line":{line},"column":{column}}}"#);
        let json = format!(
            r#"{{"file":"workers/core/src/a.rs","function":null,"name":"","genre":"{genre}","replacement":"{replacement}",
                "span":{{"start":{place},"end":{place}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    /// Guarantee: each mutant is behind its number, the inner one in what the outer one keeps; a constant is for a build of its own.
    #[test]
    fn mutants_are_behind_their_numbers() {
        let mutants = [
            mutant("BinaryOperator", "<=", 3, 11),
            mutant("BinaryOperator", "-", 3, 7),
            mutant("FnValue", "true", 3, 5),
            mutant("BinaryOperator", "-", 1, 18),
        ];
        let numbered: Vec<Numbered> = (1..).zip(&mutants).collect();
        let switched = switch(SOURCE, &numbered).unwrap();
        assert_eq!((switched.constants, switched.never), (vec![4], vec![]));
        let text: String = switched.text.split_whitespace().collect();
        for part in [
            "constA:u32=1+2;",
            "{ifcrate::mx::on(3){/*M3*/returntrue;/*E3*/}",
            "(ifcrate::mx::on(1){/*M1*/(a+1)<=(b)/*E1*/}else{(",
            "(ifcrate::mx::on(2){/*M2*/(a)-(1)/*E2*/}else{(a)+(1)})",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        syn::parse_file(&switched.text).unwrap();
    }

    /// Guarantee: a mutant of which nothing is found is no mutant that is passed over.
    #[test]
    fn a_place_without_its_mutant_is_told() {
        let lost = mutant("UnaryOperator", "", 3, 5);
        assert!(switch(SOURCE, &[(1, &lost)]).is_err());
    }
}
