//! `monban guarantees`: what a store promises, in words.

use std::process::ExitCode;

use monban::Result;
use monban::contract::Guarantees;

use super::print;
use crate::open::Opened;

/// Of the store that is chosen.
pub(super) fn of(opened: &Opened) -> Result<ExitCode> {
    let promised = opened.locks.guarantees();
    print(&format!("{} ({})", promised.store, opened.name));
    for sentence in promised.sentences() {
        print(&format!("* {sentence}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Of all stores of this build.
pub(super) fn all(markdown: bool) -> ExitCode {
    if markdown {
        print(
            "# What each store promises\n\nThis page is what `monban guarantees --all --markdown` prints.",
        );
        print("A promise is worth its condition: both are in each sentence.\n");
        print("| store | exclusion | order | freed by | fences | permits | linger | by hand |");
        print("|---|---|---|---|---|---|---|---|");
        for promised in monban::all_guarantees() {
            print(&row(&promised));
        }
    }
    for promised in monban::all_guarantees() {
        print(&format!(
            "{}{}",
            if markdown { "\n## " } else { "" },
            promised.store
        ));
        if markdown {
            print("");
        }
        for sentence in promised.sentences() {
            print(&format!("* {sentence}"));
        }
    }
    ExitCode::SUCCESS
}

fn row(of: &Guarantees) -> String {
    let yes = |it| if it { "yes" } else { "no" };
    format!(
        "| {} | {:?} | {:?} | {:?} | {:?} | {} | {} | {} |",
        of.store,
        of.exclusion,
        of.order,
        of.liveness,
        of.fencing,
        yes(of.permits),
        yes(of.linger),
        yes(of.release_by_hand)
    )
}
