//! The example that embeds units and a key service in a program does what it says.

#[path = "../examples/embed.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod example;

#[tokio::test]
async fn the_example_serves_its_own_route_and_the_key_service() {
    let [hello, created] = example::run().await.unwrap();
    assert_eq!(hello, "hello");
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    assert_eq!(created["resources"][0]["name"], "root", "{created}");
}
