//! kubectl exec, attach, cp, debug.

use std::time::Duration;

use homeostat::cri::ExecOutput;
use homeostat::cri::fake::Script;

use crate::world::World;

#[test]
fn commands_run() {
    let world = World::new("exec");
    let output = |code, stdout: &str, stderr: &str| ExecOutput {
        code,
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let script = Script::default()
        .answers("hello", Duration::ZERO, output(0, "hello\n", ""))
        .answers(
            "fails",
            Duration::from_millis(300),
            output(7, "some\n", "bad\n"),
        );
    world.script("tools", &script);
    world.ok(
        "kubectl run web --image=tools && kubectl wait pod/web --for=condition=Ready --timeout=30s",
    );
    // By WebSocket, and by SPDY as older clients do.
    for client in ["", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false "] {
        let kubectl = format!("{client}kubectl");
        world.prints(&format!("{kubectl} exec web -- hello"), &["hello"]);
        world.prints(
            &format!("{kubectl} exec web -- fails; echo $?"),
            &["some", "7"],
        );
        let errors = world.fails(&format!("{kubectl} exec web -- fails"));
        assert_eq!(errors, "bad\ncommand terminated with exit code 7\n");
        // What the fake does not know sends back what it is sent.
        world.prints(
            &format!("echo sent | {kubectl} exec -i web -- cat"),
            &["sent"],
        );
        let copied = format!(
            "head -c 3000000 /dev/urandom > in && {kubectl} exec -i web -- cat < in > out && cmp in out && echo same"
        );
        world.prints(&copied, &["same"]);
        world.prints(
            &format!("echo there | {kubectl} attach -i web -q"),
            &["there"],
        );
    }
    // A terminal, at which nobody types.
    world.prints(
        "mkfifo keys && script -qec 'kubectl exec -it web -- hello' /dev/null <> keys",
        &["hello"],
    );
    world.refuses(
        "kubectl exec web -c none -- hello",
        &["Error from server (BadRequest): container none is not valid for pod web"],
    );
    world.refuses(
        "kubectl exec none -- hello",
        &["Error from server (NotFound): pods \"none\" not found"],
    );
}
