//! The `h2` crate on tokio and rustls: what most Rust clients are built on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Version};
use tokio::sync::Semaphore;

use crate::mail::IN_FLIGHT;
use crate::request::{body, fields, token};
use crate::tls;

/// Pushes until the process is ended.
pub(crate) fn run(sink: SocketAddr, ca: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(push(sink, ca))
}

async fn push(sink: SocketAddr, ca: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let socket = tokio::net::TcpStream::connect(sink).await?;
    socket.set_nodelay(true)?;
    let name = "localhost".try_into()?;
    let stream = tokio_rustls::TlsConnector::from(tls::client(ca)?).connect(name, socket).await?;
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async move {
        // The end of the connection is the end of the measurement.
        if let Err(error) = connection.await {
            eprintln!("h2: {error}");
        }
    });
    let places = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let (body, fields) = (Bytes::from(body()), fields());
    for number in 0.. {
        let place = Arc::clone(&places).acquire_owned().await?;
        sender = sender.ready().await?;
        let mut request = Request::builder().method(Method::POST).version(Version::HTTP_2).uri(format!(
            "https://localhost:{}/3/device/{}",
            sink.port(),
            token(number)
        ));
        for (name, value) in &fields {
            request = request.header(*name, value);
        }
        let (answer, mut stream) = sender.send_request(request.body(())?, false)?;
        stream.send_data(body.clone(), true)?;
        tokio::spawn(async move {
            match answer.await {
                Ok(answer) if answer.status() == 200 => drop(place),
                other => eprintln!("h2: {other:?}"),
            }
        });
    }
    Ok(())
}
