//! Source text with every change in it, each behind `if crate::mutant(NUMBER)`.
//!
//! Nothing of the text is taken away: a change is written before what it replaces, which becomes the `else`. So changes
//! nest, and since one is on at a time, what a change repeats of the text is without changes.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::mutant::{Kind, Mutant};

/// The text of a file with its changes, and which of them are not in it.
pub struct Rewritten {
    pub text: String,
    /// Those in places that have to be constant, or that nothing here can switch.
    pub left: Vec<usize>,
    /// Those in what is not compiled with these features.
    pub absent: Vec<usize>,
    /// Those that no compiler takes: `||` beside a `let`.
    pub impossible: Vec<usize>,
}

/// Rewrites `source`, as it is compiled with `features`, with `mutants`, all of this file.
pub fn rewrite(source: &str, mutants: &[&Mutant], features: &str) -> syn::Result<Rewritten> {
    let file = syn::parse_file(source)?;
    let mut by_place: BTreeMap<usize, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_place.entry(mutant.start).or_default().push(mutant);
    }
    let mut visitor = Visitor {
        source,
        features,
        by_place,
        insertions: Vec::new(),
        order: 0,
        absent: Vec::new(),
        impossible: Vec::new(),
    };
    visitor.visit_file(&file);
    let left = visitor.by_place.values().flatten().map(|mutant| mutant.number).collect();
    let absent = std::mem::take(&mut visitor.absent);
    let impossible = std::mem::take(&mut visitor.impossible);
    Ok(Rewritten { text: visitor.text(), left, absent, impossible })
}

/// The text that tells where a change begins, by which an error of the compiler is found to be its.
pub fn opening(number: usize) -> String {
    format!("/*<{number}*/")
}

/// The text that tells where it ends.
pub fn closing(number: usize) -> String {
    format!("/*>{number}*/")
}

struct Visitor<'a> {
    source: &'a str,
    features: &'a str,
    /// What has found no place yet.
    by_place: BTreeMap<usize, Vec<&'a Mutant>>,
    insertions: Vec<Insertion>,
    /// Outer expressions are visited first.
    order: isize,
    absent: Vec<usize>,
    impossible: Vec<usize>,
}

struct Insertion {
    at: usize,
    /// What ends comes first, inner before outer; then what begins, outer before inner.
    rank: (bool, isize),
    text: String,
}

impl<'a> Visitor<'a> {
    fn text(mut self) -> String {
        self.insertions.sort_by_key(|insertion| (insertion.at, insertion.rank));
        let mut text = String::new();
        let mut done = 0;
        for insertion in &self.insertions {
            text.push_str(&self.source[done..insertion.at]);
            text.push_str(&insertion.text);
            done = insertion.at;
        }
        text.push_str(&self.source[done..]);
        text
    }

    fn take(&mut self, at: usize, kind: Kind) -> Vec<&'a Mutant> {
        let Some(here) = self.by_place.get_mut(&at) else {
            return Vec::new();
        };
        let (taken, kept) = here.iter().copied().partition(|mutant| mutant.kind == kind);
        *here = kept;
        if here.is_empty() {
            self.by_place.remove(&at);
        }
        taken
    }

    fn begin(&mut self, at: usize, text: String) {
        self.order += 1;
        self.insertions.push(Insertion { at, rank: (true, self.order), text });
    }

    fn end(&mut self, at: usize, text: &str) {
        self.insertions.push(Insertion { at, rank: (false, -self.order), text: text.into() });
    }

    /// Has the expression at `range` be what `changed` says of each of `mutants`, where that is on.
    fn wrap(
        &mut self,
        range: Range<usize>,
        mutants: &[&Mutant],
        changed: impl Fn(&Mutant) -> String,
    ) {
        if mutants.is_empty() {
            return;
        }
        let branches: String = mutants
            .iter()
            .map(|mutant| {
                format!("if {} {{ {} }} else ", on(mutant), marked(mutant, &changed(mutant)))
            })
            .collect();
        self.begin(range.start, format!("({branches}{{ "));
        self.end(range.end, " })");
    }

    /// Whether an item is compiled; if not, nothing in it can be switched.
    fn is_present(&mut self, attributes: &[syn::Attribute], item: &impl Spanned) -> bool {
        let present = attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"))
            .filter_map(|attribute| attribute.parse_args::<syn::Meta>().ok())
            .all(|condition| holds(&condition, self.features));
        if !present {
            let range = item.span().byte_range();
            for (_, mutants) in self.by_place.range_mut(range) {
                self.absent.extend(mutants.drain(..).map(|mutant| mutant.number));
            }
        }
        present
    }

    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else {
            return;
        };
        let at = first.span().byte_range().start;
        let mutants = self.take(at, Kind::Body);
        // `return` has one type, and so has such a function.
        let (left, switched): (Vec<_>, Vec<_>) =
            mutants.into_iter().partition(|mutant| mutant.return_type.contains("impl "));
        if !left.is_empty() {
            self.by_place.entry(at).or_default().extend(left);
        }
        for mutant in switched {
            let changed = marked(mutant, &format!("return {};", mutant.replacement));
            self.begin(at, format!("if {} {{ {changed} }}\n", on(mutant)));
        }
    }

    fn of(&self, node: &impl Spanned) -> &'a str {
        &self.source[node.span().byte_range()]
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if self.is_present(&item.attrs, item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if self.is_present(&item.attrs, item) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !self.is_present(&item.attrs, item) {
            return;
        }
        self.body(&item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.is_present(&item.attrs, item) {
            return;
        }
        self.body(&item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let mutants = self.take(binary.op.span().byte_range().start, Kind::BinaryOperator);
        if has_let(&binary.left) || has_let(&binary.right) {
            self.impossible.extend(mutants.iter().map(|mutant| mutant.number));
        } else {
            let (left, right) = (self.of(&*binary.left), self.of(&*binary.right));
            self.wrap(binary.span().byte_range(), &mutants, |mutant| {
                format!("({left}) {} ({right})", mutant.replacement)
            });
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let mutants = self.take(unary.op.span().byte_range().start, Kind::UnaryOperator);
        let operand = self.of(&*unary.expr);
        self.wrap(unary.span().byte_range(), &mutants, |_| operand.to_string());
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let deleted: String = self
            .take(arm.span().byte_range().start, Kind::Arm)
            .iter()
            .map(|mutant| format!("!{} && ", on(mutant)))
            .collect();
        if let Some((_, guard)) = &arm.guard {
            let range = guard.span().byte_range();
            if !deleted.is_empty() {
                self.begin(range.start, format!("{deleted}("));
                self.end(range.end, ")");
            }
            let mutants = self.take(range.start, Kind::Guard);
            self.wrap(range, &mutants, |mutant| mutant.replacement.clone());
        } else if !deleted.is_empty() {
            self.begin(arm.pat.span().byte_range().end, format!(" if {deleted}true"));
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, whole: &'ast syn::ExprStruct) {
        if let Some(rest) = &whole.rest {
            let mut mutants = Vec::new();
            let mut without = BTreeMap::new();
            for (index, field) in whole.fields.iter().enumerate() {
                for mutant in self.take(field.span().byte_range().start, Kind::Field) {
                    without.insert(mutant.number, index);
                    mutants.push(mutant);
                }
            }
            let fields: Vec<&str> = whole.fields.iter().map(|field| self.of(field)).collect();
            let (path, rest) = (self.of(&whole.path), self.of(&**rest));
            self.wrap(whole.span().byte_range(), &mutants, |mutant| {
                let (before, after) = fields.split_at(without[&mutant.number]);
                let kept: String =
                    before.iter().chain(&after[1..]).map(|field| format!("{field}, ")).collect();
                format!("{path} {{ {kept}..{rest} }}")
            });
        }
        visit::visit_expr_struct(self, whole);
    }

    // What has to be constant: nothing can be switched there.

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }
}

/// Whether a condition of `cfg` holds in the unit tests, with these features and commas between them.
fn holds(condition: &syn::Meta, features: &str) -> bool {
    match condition {
        syn::Meta::NameValue(pair) => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(value), .. }) => {
                let value = value.value();
                match pair.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("feature") => features.split(',').any(|feature| feature == value),
                    Some("target_os") => value == std::env::consts::OS,
                    _ => true,
                }
            }
            _ => true,
        },
        syn::Meta::List(list) => {
            let inner =
                list.parse_args_with(Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated);
            let mut inner = inner.into_iter().flatten();
            match list.path.get_ident().map(ToString::to_string).as_deref() {
                Some("not") => inner.all(|condition| !holds(&condition, features)),
                Some("any") => inner.any(|condition| holds(&condition, features)),
                _ => inner.all(|condition| holds(&condition, features)),
            }
        }
        // This is a test on Unix.
        syn::Meta::Path(name) => {
            ["test", "unix", "debug_assertions"].iter().any(|known| name.is_ident(known))
        }
    }
}

fn on(mutant: &Mutant) -> String {
    format!("crate::mutant({})", mutant.number)
}

fn marked(mutant: &Mutant, text: &str) -> String {
    format!("{}{text}{}", opening(mutant.number), closing(mutant.number))
}

/// Whether a chain of `&&` has a `let` in it: such a chain cannot be an operand.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// What a crate needs to switch its changes: text for the top of its first file, and for the end.
pub fn switch(mutants: usize) -> (String, String) {
    let top = "#![feature(core_intrinsics, const_eval_select)]\n#![allow(internal_features)]\n";
    let end = include_str!("switch.rs").replace("COUNT", &(mutants + 1).to_string());
    (top.to_string(), end)
}
