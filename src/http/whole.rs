//! Whole numbers in a body, as JSON Schema has them: `3.0` is one too, and serde's own integers refuse it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A number that fits `T`, written with or without a fraction of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct WholeNumber<T>(pub(super) T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for WholeNumber<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<T>(PhantomData<T>);

        impl<T: TryFrom<i128>> Number<T> {
            fn fit<E: Error>(self, number: i128, given: Unexpected<'_>) -> Result<T, E> {
                T::try_from(number).map_err(|_| E::invalid_value(given, &self))
            }
        }

        impl<T: TryFrom<i128>> Visitor<'_> for Number<T> {
            type Value = T;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (min, max) = bounds::<T>();
                write!(out, "a whole number from {min} to {max}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
                self.fit(number.into(), Unexpected::Unsigned(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
                self.fit(number.into(), Unexpected::Signed(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
                // Up to 2^53 every whole number is a float of its own; above, it is not known which was meant.
                if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
                    return Err(E::invalid_value(Unexpected::Float(number), &self));
                }
                #[expect(clippy::cast_possible_truncation, reason = "checked above")]
                self.fit(number as i128, Unexpected::Float(number))
            }
        }

        deserializer.deserialize_i64(Number(PhantomData)).map(Self)
    }
}

/// Some brokers, each once, first the preferred leader.
#[derive(Debug, Deserialize)]
pub(super) struct BrokerIds(Vec<WholeNumber<u64>>);

impl PartialSchema for BrokerIds {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(2_147_483_647));
        let ids = ArrayBuilder::new()
            .description(Some("Some brokers, each once, first the preferred leader."))
            .items(id)
            .min_items(Some(1))
            .max_items(Some(15))
            .examples([serde_json::json!([1, 2, 4])]);
        ids.build().into()
    }
}

impl ToSchema for BrokerIds {}

impl From<BrokerIds> for Vec<u64> {
    fn from(ids: BrokerIds) -> Self {
        ids.0.into_iter().map(|id| id.0).collect()
    }
}

/// The smallest and the largest number that `T` holds, of the types there are.
fn bounds<T: TryFrom<i128>>() -> (i128, i128) {
    let least = [i64::MIN.into(), i32::MIN.into(), 0];
    let most = [
        u64::MAX.into(),
        i64::MAX.into(),
        u32::MAX.into(),
        i32::MAX.into(),
        u16::MAX.into(),
        u8::MAX.into(),
    ];
    let held = |of: &[i128]| of.iter().copied().find(|it| T::try_from(*it).is_ok());
    (held(&least).unwrap_or_default(), held(&most).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: TryFrom<i128>>(text: &str) -> Result<T, String> {
        serde_json::from_str::<WholeNumber<T>>(text).map(|whole| whole.0).map_err(|e| e.to_string())
    }

    #[test]
    fn a_fraction_of_zero_is_a_whole_number_and_nothing_else_is() {
        assert_eq!(read::<u32>("448410.0"), Ok(448_410));
        assert_eq!(read::<u16>("65535"), Ok(65_535));
        assert_eq!(read::<u64>("0.0"), Ok(0));
        assert_eq!(read::<u64>("18446744073709551615"), Ok(u64::MAX));
        for text in ["0.5", "-1", "-1.0", "1e300", "18446744073709551616", "\"1\"", "null", "[1]"] {
            assert!(read::<u64>(text).is_err(), "{text}");
        }
        assert_eq!(read::<i64>("-5.0"), Ok(-5));
        assert_eq!(read::<i32>("-2147483648"), Ok(i32::MIN));
        let error = read::<i32>("2147483648").unwrap_err();
        assert!(error.contains("a whole number from -2147483648 to 2147483647"), "{error}");
        let error = read::<u16>("65536").unwrap_err();
        assert!(error.contains("a whole number from 0 to 65535"), "{error}");
    }
}
