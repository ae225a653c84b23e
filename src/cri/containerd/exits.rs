//! containerd's own events, from before it had those of CRI: which container's first process has ended. The interface for
//! Kubernetes learns of it a moment later.

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// The field numbers are those of containerd's `events.proto` and `task.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// An event of any kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container: String,
    /// The process: the container's id, or that of a command in it.
    #[prost(string, tag = "2")]
    process: String,
}

/// Ends of processes in Kubernetes' containers.
const FILTER: &str = "namespace==k8s.io,topic==\"/tasks/exit\"";

/// Asks for the events. Answered when the first one comes.
pub(super) async fn subscribe(channel: Channel) -> Result<Streaming<Envelope>, Status> {
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = SubscribeRequest {
        filters: vec![FILTER.to_owned()],
    };
    let path = PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
    let codec = ProstCodec::<SubscribeRequest, Envelope>::default();
    let answer = client.server_streaming(Request::new(request), path, codec);
    Ok(answer.await?.into_inner())
}

impl Envelope {
    /// Whether a container or sandbox has ended, not merely a command in it.
    pub(super) fn is_end(&self) -> bool {
        let event = self.event.as_ref();
        let exit = event.and_then(|event| TaskExit::decode(&*event.value).ok());
        exit.is_some_and(|exit| exit.container == exit.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_no_ends() {
        let envelope = |process: &str| {
            let exit = TaskExit {
                container: "a".to_owned(),
                process: process.to_owned(),
            };
            let value = exit.encode_to_vec();
            let event = Some(Any { value });
            Envelope { event }
        };
        assert!(envelope("a").is_end());
        assert!(!envelope("b").is_end());
        assert!(!Envelope::default().is_end());
    }
}
