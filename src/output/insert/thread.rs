//! A thread that owns a connection to the desktop and takes orders.

use super::ToolError;
use std::io::{Read as _, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

/// What such a thread owns.
pub trait Attend: Sized + Send + 'static {
    /// Name of the thread.
    const NAME: &'static str;
    /// Connects.
    fn open() -> Result<Self, ToolError>;
    /// Handles events until `wake` has something to read; an error ends the thread.
    fn attend(&mut self, wake: &UnixStream) -> Result<(), ToolError>;
}

type Order<S> = Box<dyn FnOnce(&mut S) + Send>;

/// The thread, started when it is first needed, and again after its connection broke.
pub struct Thread<S>(Mutex<Option<Running<S>>>);

struct Running<S> {
    orders: Sender<Order<S>>,
    wake: UnixStream,
}

impl<S: Attend> Thread<S> {
    pub const fn new() -> Self {
        Thread(Mutex::new(None))
    }

    /// Whether it has been started.
    pub fn runs(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has the thread do something and waits for it.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, ToolError> + Send + 'static,
    ) -> Result<T, ToolError> {
        let gone = || ToolError::Desktop("the connection to the desktop is gone".into());
        let (answer, answered) = mpsc::channel();
        let order: Order<S> = Box::new(move |state| {
            // Whoever asked may have given up.
            let _ = answer.send(work(state));
        });
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match running.take() {
            Some(thread) => match thread.send(order) {
                Ok(()) => {
                    *running = Some(thread);
                    None
                }
                Err(order) => Some(order),
            },
            None => Some(order),
        };
        if let Some(order) = unsent {
            let thread = Running::start()?;
            thread.send(order).map_err(|_| gone())?;
            *running = Some(thread);
        }
        drop(running);
        answered.recv().map_err(|_| gone())?
    }
}

impl<S: Attend> Running<S> {
    fn start() -> Result<Self, ToolError> {
        let state = S::open()?;
        let (wake, woken) =
            UnixStream::pair().map_err(|error| ToolError::Desktop(format!("no pair of sockets: {error}")))?;
        let (orders, received) = mpsc::channel();
        std::thread::Builder::new()
            .name(S::NAME.into())
            .spawn(move || run(state, &received, woken))
            .map_err(|error| ToolError::Desktop(format!("cannot start a thread: {error}")))?;
        Ok(Running { orders, wake })
    }

    fn send(&self, order: Order<S>) -> Result<(), Order<S>> {
        self.orders.send(order).map_err(|unsent| unsent.0)?;
        // One byte wakes the thread; a full socket means that it is awake already.
        let _ = (&self.wake).write(&[1]);
        Ok(())
    }
}

fn run<S: Attend>(mut state: S, orders: &Receiver<Order<S>>, mut woken: UnixStream) {
    loop {
        while let Ok(order) = orders.try_recv() {
            order(&mut state);
        }
        if let Err(error) = state.attend(&woken) {
            tracing::warn!("{}: {error}", S::NAME);
            return;
        }
        let mut bytes = [0; 64];
        match woken.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
