//! `RequestServerVersion`: the schema versions, in the order in which they appeared (types.xsd, ExchangeVersionType).

macro_rules! versions {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// A schema version that a request may name. Ordered from the oldest to the newest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, non_camel_case_types)]
        pub enum Version { $($variant),* }

        impl Version {
            /// The literal that stands in the SOAP header.
            pub const fn as_str(self) -> &'static str {
                match self { $(Version::$variant => $text),* }
            }

            /// The version that `text` names, if the schema has it.
            pub fn parse(text: &str) -> Option<Version> {
                match text { $($text => Some(Version::$variant),)* _ => None }
            }
        }
    };
}

versions! {
    Exchange2007 = "Exchange2007",
    Exchange2007_SP1 = "Exchange2007_SP1",
    Exchange2009 = "Exchange2009",
    Exchange2010 = "Exchange2010",
    Exchange2010_SP1 = "Exchange2010_SP1",
    Exchange2010_SP2 = "Exchange2010_SP2",
    Exchange2012 = "Exchange2012",
    Exchange2013 = "Exchange2013",
    Exchange2013_SP1 = "Exchange2013_SP1",
    Exchange2015 = "Exchange2015",
    Exchange2016 = "Exchange2016",
    V2015_10_05 = "V2015_10_05",
    V2016_01_06 = "V2016_01_06",
    V2016_04_13 = "V2016_04_13",
    V2016_07_13 = "V2016_07_13",
    V2016_10_10 = "V2016_10_10",
    V2017_01_07 = "V2017_01_07",
    V2017_04_14 = "V2017_04_14",
    V2017_07_11 = "V2017_07_11",
}

impl Version {
    /// Major and minor number, then build, that a server of this age reports in `ServerVersionInfo`.
    pub(super) const fn build(self) -> (u16, u16, u16, u16) {
        if (self as u8) < Version::Exchange2012 as u8 {
            (14, 3, 123, 4)
        } else if (self as u8) < Version::Exchange2015 as u8 {
            (15, 0, 1497, 2)
        } else if (self as u8) < Version::V2017_07_11 as u8 {
            (15, 1, 619, 10)
        } else {
            (15, 2, 1544, 11)
        }
    }
}
