//! JSON values that never fail over their type.
//!
//! serde's derived readers give up a whole document over one value of another type. These read such a value to its end and
//! say "something else", in the same pass. What remains an error is what is no JSON.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::time;

/// An object that is filled member by member; what it does not know it skips.
pub(crate) trait Members<'de>: Default {
    /// The next value belongs to `key`; it must be taken from `from`.
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error>;
}

/// An object, or none if it is something else.
pub(crate) struct Object<T>(pub(crate) Option<T>);

/// A list; an element that is no object is an empty one.
pub(crate) enum List<T> {
    Null,
    Other,
    Of(Vec<T>),
}

/// A number or a text.
enum Scalar<'de> {
    Number(u64),
    Text(Cow<'de, str>),
    Other,
}

/// A member's name.
struct Key<'de>(Cow<'de, str>);

/// The next value, if it is an object.
pub(crate) fn object<'de, T: Members<'de>, A: MapAccess<'de>>(from: &mut A) -> Result<Option<T>, A::Error> {
    from.next_value::<Object<T>>().map(|Object(of)| of)
}

/// The next value, if it is a whole number that is not negative and fits.
pub(crate) fn number<'de, A: MapAccess<'de>>(from: &mut A) -> Result<Option<u64>, A::Error> {
    Ok(if let Scalar::Number(n) = from.next_value()? {
        Some(n)
    } else {
        None
    })
}

/// The next value, if it is a text.
pub(crate) fn text<'de, A: MapAccess<'de>>(from: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(if let Scalar::Text(t) = from.next_value()? {
        Some(t)
    } else {
        None
    })
}

/// The next value as seconds since 1970, if it is a time.
pub(crate) fn instant<'de, A: MapAccess<'de>>(from: &mut A) -> Result<Option<i64>, A::Error> {
    Ok(text(from)?.and_then(|t| time::parse(&t)))
}

/// Whatever comes next.
pub(crate) fn skip<'de, A: MapAccess<'de>>(from: &mut A) -> Result<(), A::Error> {
    from.next_value::<IgnoredAny>().map(drop)
}

/// The visitor's methods for what a shape is not: read to its end, then answer "something else".
macro_rules! something_else {
    (scalars => $other:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
    (numbers_and_texts => $other:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
    (null => $other:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
    (list => $other:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            while from.next_element::<IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
    (object => $other:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            while from.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
}

impl<'de, T: Members<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Shape<T>(PhantomData<T>);
        impl<'de, T: Members<'de>> Visitor<'de> for Shape<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut object = T::default();
                while let Some(Key(key)) = from.next_key()? {
                    object.member(&key, &mut from)?;
                }
                Ok(Object(Some(object)))
            }

            something_else!(scalars => Object(None));
            something_else!(numbers_and_texts => Object(None));
            something_else!(null => Object(None));
            something_else!(list => Object(None));
        }
        from.deserialize_any(Shape(PhantomData))
    }
}

impl<'de, T: Members<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Shape<T>(PhantomData<T>);
        impl<'de, T: Members<'de>> Visitor<'de> for Shape<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Object(element)) = from.next_element()? {
                    list.push(element.unwrap_or_default());
                }
                Ok(List::Of(list))
            }

            something_else!(scalars => List::Other);
            something_else!(numbers_and_texts => List::Other);
            something_else!(null => List::Null);
            something_else!(object => List::Other);
        }
        from.deserialize_any(Shape(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(n))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            something_else!(scalars => Scalar::Other);
            something_else!(null => Scalar::Other);
            something_else!(list => Scalar::Other);
            something_else!(object => Scalar::Other);
        }
        from.deserialize_any(Shape)
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Shape)
    }
}
