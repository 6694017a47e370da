"""From reference audio to semantic tokens: content encoder and quantiser."""
