//! Man pages, made from the same table of options that `--help` shows, so that neither can lag behind the other.

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

use crate::cli::Chain;

/// The page of one tool in man(7) form, section 1.
pub fn page(name: &str, info: &CommandInfoWithArgs, chain: Chain) -> String {
    let mut page = format!(
        ".TH {} 1 \"\" \"libctr {}\" \"Container tools\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escape(name),
        escape(summary(info.description)),
        escape(name),
    );
    page.push_str("[\\fIOPTIONS\\fR]");
    page.push_str(match chain {
        Chain::No => "\n",
        Chain::Optional => " [[\\fB\\-\\-\\fR] \\fIPROGRAM\\fR [\\fIARG\\fR...]]\n",
        Chain::Always => " [\\fB\\-\\-\\fR] \\fIPROGRAM\\fR [\\fIARG\\fR...]\n",
    });
    section(&mut page, "DESCRIPTION", &escape(info.description));
    page.push_str(".SH OPTIONS\n");
    for flag in info.flags.iter().filter(|flag| !flag.hidden) {
        page.push_str(&option(flag));
    }
    page.push_str(".TP\n\\fB\\-\\-version\\fR\nprint the version\n");
    if !info.notes.is_empty() {
        page.push_str(".SH NOTES\n");
        for line in info.notes.iter().flat_map(|note| note.lines()) {
            page.push_str(&format!("{}\n.PP\n", escape(line)));
        }
    }
    if !info.examples.is_empty() {
        page.push_str(".SH EXAMPLES\n.nf\n");
        info.examples.iter().for_each(|example| page.push_str(&format!("{}\n", escape(example))));
        page.push_str(".fi\n");
    }
    section(
        &mut page,
        "DIAGNOSTICS",
        "One line on stderr, OPERATION OBJECT: Reason (ERRNO), and where a person can act on it a second that begins with \
         hint:.",
    );
    page
}

fn section(page: &mut String, title: &str, text: &str) {
    page.push_str(&format!(".SH {title}\n{text}\n"));
}

fn option(flag: &FlagInfo<'_>) -> String {
    let mut head = String::from("\\fB");
    if let Some(short) = flag.short {
        head.push_str(&format!("\\-{short}\\fR, \\fB"));
    }
    head.push_str(&escape(flag.long));
    head.push_str("\\fR");
    if let FlagInfoKind::Option { arg_name } = flag.kind {
        head.push_str(&format!(" \\fI{}\\fR", escape(arg_name)));
    }
    if flag.optionality == Optionality::Required {
        head.push_str(" (required)");
    }
    format!(".TP\n{head}\n{}\n", escape(flag.description))
}

/// The first sentence, without its end.
fn summary(description: &str) -> &str {
    description.split_once(". ").map_or(description, |(first, _)| first).trim_end_matches('.')
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...");
    let guard = |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    text.lines().map(|line| guard(line.trim_start())).collect::<Vec<_>>().join("\n")
}
