//! Whether the page on JSON names whatever is printed.

use serde_json::Value;

/// Checks that docs/json.md names every key in it, but not what stands below the keys in `own`: the names there are what
/// is shown, such as what is counted.
#[track_caller]
pub fn assert_documented(json: &Value, own: &[&str]) {
    const PAGE: &str = include_str!("../../docs/json.md");
    match json {
        Value::Object(object) => {
            for (key, value) in object {
                assert!(PAGE.contains(&format!("`{key}`")), "{key:?} is not in docs/json.md: {json}");
                if !own.contains(&key.as_str()) {
                    assert_documented(value, own);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|json| assert_documented(json, own)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
