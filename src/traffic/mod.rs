//! Traffic routers: wanted weights into a patch of the live object, and whether the gateway has them. Pure.

pub mod gateway;
