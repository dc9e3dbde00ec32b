//! Presence tests.

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::parser::Expression as Tree;

/// Turns `has(a.b)` into `"b" in a`. A missing field reads as null here, so a presence test by reading would always
/// succeed.
pub(crate) fn ask_for_presence(tree: &mut Tree) {
    match &mut tree.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => {
            ask_for_presence(&mut select.operand);
            if select.test {
                tree.expr = presence(std::mem::take(select));
            }
        }
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(ask_for_presence);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(ask_for_presence),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        ask_for_presence(&mut entry.key);
                        ask_for_presence(&mut entry.value);
                    }
                    EntryExpr::StructField(field) => ask_for_presence(&mut field.value),
                }
            }
        }
        Expr::Struct(_) => {}
        Expr::Comprehension(each) => {
            let each = &mut **each;
            let parts = [
                &mut each.iter_range,
                &mut each.accu_init,
                &mut each.loop_cond,
                &mut each.loop_step,
                &mut each.result,
            ];
            parts.into_iter().for_each(ask_for_presence);
        }
    }
}

fn presence(select: SelectExpr) -> Expr {
    let id = select.operand.id;
    let name = Tree { id, expr: Expr::Literal(LiteralValue::String(select.field.into())) };
    Expr::Call(CallExpr {
        func_name: operators::IN.to_owned(),
        target: None,
        args: vec![name, *select.operand],
    })
}
