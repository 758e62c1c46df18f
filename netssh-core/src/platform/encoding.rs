//! Encodings of devices that do not use UTF-8.

use serde::Deserialize;

/// A device's encoding, by a label of the [WHATWG Encoding
/// Standard](https://encoding.spec.whatwg.org/#names-and-labels): `gbk`, `big5`, `shift_jis`,
/// `euc-kr`, `windows-1252` …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Encoding(&'static encoding_rs::Encoding);

/// Decodes a device's bytes, including characters that are split between packets.
pub(crate) struct Decoder(encoding_rs::Decoder);

impl Encoding {
    /// Returns the encoding of a label.
    ///
    /// # Errors
    /// The label is unknown, or the encoding is not a superset of ASCII, so that prompts and
    /// newlines could not be recognised.
    pub fn named(label: &str) -> Result<Self, String> {
        let known = encoding_rs::Encoding::for_label(label.as_bytes());
        known
            .filter(|encoding| encoding.is_ascii_compatible())
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "invalid encoding `{label}`: expected gbk, gb18030, big5, shift_jis, euc-jp, \
                     euc-kr, koi8-r, iso-8859-2, windows-1252 or another label of the WHATWG \
                     standard"
                )
            })
    }

    /// Returns the encoded text; `None` if the encoding lacks a character.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let (bytes, _, unmappable) = self.0.encode(text);
        (!unmappable).then(|| bytes.into_owned())
    }

    pub(crate) fn decoder(self) -> Decoder {
        Decoder(self.0.new_decoder_without_bom_handling())
    }
}

impl Decoder {
    /// Decodes bytes to UTF-8. An incomplete character is retained until the rest of it arrives.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let longest = self.0.max_utf8_buffer_length(bytes.len());
        let mut text = String::with_capacity(longest.unwrap_or(bytes.len() * 3 + 16));
        let (_, read, _) = self.0.decode_to_string(bytes, &mut text, false);
        debug_assert_eq!(read, bytes.len(), "there is room for all of it");
        text.into_bytes()
    }
}

impl TryFrom<String> for Encoding {
    type Error = String;

    fn try_from(label: String) -> Result<Self, String> {
        Self::named(&label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_in_pieces_stay_whole() {
        let gbk = Encoding::named("gbk").unwrap();
        let bytes = gbk.encode("接口 中文#").unwrap();
        let mut decoder = gbk.decoder();
        let pieces = bytes.iter().flat_map(|byte| decoder.decode(&[*byte]));
        assert_eq!(String::from_utf8(pieces.collect()).unwrap(), "接口 中文#");
        assert_eq!(gbk.encode("🙂"), None);
    }

    #[test]
    fn what_is_no_encoding_of_a_device_is_refused() {
        for label in ["klingon", "utf-16le", "iso-2022-jp", ""] {
            let error = Encoding::named(label).unwrap_err();
            assert!(error.contains("gbk"), "{label}: {error}");
        }
    }
}
