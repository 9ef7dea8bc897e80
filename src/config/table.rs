//! The macro that turns the table of settings into types, defaults and descriptions.

use super::Config;
use super::value::{Allowed, Shape};

/// One setting as the loader and the document see it.
pub(super) struct Setting {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) doc: &'static str,
    pub(super) allowed: Allowed,
    pub(super) shape: Shape,
    /// Sets the value from its text form; false when the text is not allowed.
    pub(super) set: fn(&mut Config, &str, &Allowed) -> bool,
    /// The value as it would be written in a TOML file; None when it is not set.
    pub(super) show: fn(&Config) -> Option<String>,
}

impl Setting {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    pub(super) fn variable(&self) -> String {
        format!("QUORATE_{}_{}", self.section, self.key).to_ascii_uppercase()
    }
}

/// One section of the table.
pub(super) struct SectionTable {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) settings: &'static [Setting],
}

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr, $allowed:expr; )*
        }
    )*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $doc])* pub $key: $type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// The validated configuration of one broker. `Config::default()` is what an empty file gives.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
        }

        static SECTIONS: &[table::SectionTable] = &[$(
            table::SectionTable {
                name: stringify!($section),
                doc: concat!($($section_doc),*),
                settings: &[$(
                    table::Setting {
                        section: stringify!($section),
                        key: stringify!($key),
                        doc: concat!($($doc),*),
                        allowed: $allowed,
                        shape: <$type as value::Value>::SHAPE,
                        set: |config, text, allowed| {
                            match <$type as value::Value>::parse(text, allowed) {
                                Some(value) => { config.$section.$key = value; true }
                                None => false,
                            }
                        },
                        show: |config| value::Value::show(&config.$section.$key),
                    },
                )*],
            },
        )*];
    };
}
