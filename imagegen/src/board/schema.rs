//! The JSON schema of board files, made of the types they are read into, so that editors complete and check them.

/// The schema as pretty JSON with a final line break; committed as `board-configs/board.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(super::raw::Board);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
