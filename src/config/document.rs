//! The table as text a person reads: every setting with its meaning, range, variable and value.
//!
//! The text is a valid configuration file, so the manual is also the file to start from.

use std::fmt::Write;

use super::{Config, Resolved, SECTIONS, Source};

impl Config {
    /// Returns the defaults as an annotated TOML file.
    pub fn document() -> String {
        Resolved::default().document()
    }
}

impl Resolved {
    /// Returns these values as an annotated TOML file; a value that is not the default says where it came from.
    pub fn document(&self) -> String {
        let mut text = String::from(
            "# Quorate's configuration. Each setting is also an environment variable, and the variable wins over the file;\n\
             # a flag of `quorate serve` wins over both. Bytes and milliseconds are plain numbers.\n",
        );
        for section in SECTIONS {
            push(&mut text, format_args!("\n#{}\n[{}]\n", section.doc, section.name));
            for setting in section.settings {
                push(&mut text, format_args!("\n#{}\n", setting.doc));
                push(&mut text, format_args!("# {}; {}\n", setting.allowed, setting.variable()));
                let source = self.source(&setting.name());
                if source != Source::Default {
                    push(&mut text, format_args!("# set by {source}\n"));
                }
                match (setting.show)(&self.config) {
                    Some(value) => push(&mut text, format_args!("{} = {value}\n", setting.key)),
                    None => push(&mut text, format_args!("# {} =\n", setting.key)),
                }
            }
        }
        text
    }
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a String takes any text");
}
