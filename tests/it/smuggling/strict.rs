//! The strictest reading of HTTP/1.1 there is (RFC 9112, without any leniency it allows), for what the
//! gate says to an upstream and to a client. It shares no code with the gate: it is the judge.

/// A message, read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The request's or status line, in its three parts.
    pub start: [String; 3],
    /// As they came, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What followed it, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// Whether its end is the connection's end.
    pub to_close: bool,
}

impl Message {
    /// The values under a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// `METHOD target body [trailer: value]`
    pub fn told(&self) -> String {
        let body = latin1(&self.body);
        let trailers: String =
            self.trailers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
        format!("{} {} {body}{trailers}", self.start[0], self.start[1]).trim_end().to_owned()
    }

    pub fn status(&self) -> u16 {
        self.start[1].parse().expect("checked when it was read")
    }
}

/// Bytes as the characters of the same numbers, so that nothing is lost.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What is wrong with a message, or `Ok(None)` where more bytes are needed.
type Read<T> = Result<Option<T>, String>;

/// One request at the beginning of `bytes`, and how many bytes it takes.
pub fn request(bytes: &[u8]) -> Read<(Message, usize)> {
    let Some((mut message, head)) = head(bytes)? else { return Ok(None) };
    let [method, target, version] = &message.start;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !target.starts_with('/') || !plain(target) || version != "HTTP/1.1" {
        return Err(format!("a request line: {:?}", message.start));
    }
    if message.all("host").len() != 1 {
        return Err(format!("hosts: {:?}", message.all("host")));
    }
    let rest = bytes.get(head..).unwrap_or_default();
    let Some(used) = body(&mut message, rest)? else { return Ok(None) };
    Ok(Some((message, head + used)))
}

/// One response to a request with `method` at the beginning of `bytes`, after which the connection was
/// closed.
pub fn response(bytes: &[u8], method: &str) -> Result<(Message, usize), String> {
    let Some((mut message, head)) = head(bytes)? else { return Err("it breaks off in its head".into()) };
    let [version, status, _] = &message.start;
    // Who asks in HTTP/1.0 may be answered in it; and there are those who answer 999.
    let known = matches!(version.as_str(), "HTTP/1.0" | "HTTP/1.1");
    if !known || status.len() != 3 || !status.parse().is_ok_and(|status: u16| status >= 100) {
        return Err(format!("a status line: {:?}", message.start));
    }
    let status = message.status();
    let rest = bytes.get(head..).unwrap_or_default();
    let framed = !message.all("content-length").is_empty() || !message.all("transfer-encoding").is_empty();
    if status < 200 || status == 204 {
        // RFC 9110 §8.6, RFC 9112 §6.1.
        return if framed { Err("framing without a body".into()) } else { Ok((message, head)) };
    }
    if status == 304 || method == "HEAD" {
        return Ok((message, head));
    }
    if !framed {
        message.to_close = true;
        message.body = rest.to_vec();
        return Ok((message, bytes.len()));
    }
    let Some(used) = body(&mut message, rest)? else { return Err("it breaks off in its body".into()) };
    Ok((message, head + used))
}

/// The start line and the header lines.
fn head(bytes: &[u8]) -> Read<(Message, usize)> {
    let mut message = Message::default();
    let Some((line, mut used)) = line(bytes)? else { return Ok(None) };
    let parts: Vec<&str> = line.splitn(3, ' ').collect();
    let [one, two, three] = parts.as_slice() else { return Err(format!("a start line: {line:?}")) };
    message.start = [one, two, three].map(|part| (*part).to_owned());
    loop {
        let Some((line, bytes)) = self::line(bytes.get(used..).unwrap_or_default())? else { return Ok(None) };
        used += bytes;
        if line.is_empty() {
            return Ok(Some((message, used)));
        }
        message.headers.push(field(&line)?);
    }
}

/// A field line's name in lower case, and its value.
fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("a header: {line:?}"))?;
    if !is_token(name) {
        return Err(format!("a header's name: {name:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// A line that ends in CR LF and has no control byte but tabs.
fn line(bytes: &[u8]) -> Read<(String, usize)> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or_else(|| format!("a bare line feed: {:?}", latin1(line)))?;
    if line.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return Err(format!("a control byte: {:?}", latin1(line)));
    }
    Ok(Some((latin1(line), end + 1)))
}

fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// The body by one `Content-Length` of plain digits, or one `Transfer-Encoding` that is `chunked`.
fn body(message: &mut Message, bytes: &[u8]) -> Read<usize> {
    match (message.all("content-length").as_slice(), message.all("transfer-encoding").as_slice()) {
        ([], []) => Ok(Some(0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| format!("a length: {length:?}"))?;
            let Some(body) = bytes.get(..length) else { return Ok(None) };
            message.body = body.to_vec();
            Ok(Some(length))
        }
        ([], ["chunked"]) => chunks(message, bytes),
        both => Err(format!("framing: {both:?}")),
    }
}

/// Chunks without extensions, which the gate does not pass on, and trailers.
fn chunks(message: &mut Message, bytes: &[u8]) -> Read<usize> {
    let (mut body, mut used) = (Vec::new(), 0);
    loop {
        let Some((size, bytes_of_line)) = line(bytes.get(used..).unwrap_or_default())? else {
            return Ok(None);
        };
        used += bytes_of_line;
        let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&size, 16).ok().filter(|_| plain);
        let size = size.ok_or("a chunk's size, or an extension")?;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(used..used + size + 2) else { return Ok(None) };
        let data = data.strip_suffix(b"\r\n").ok_or("a chunk's end")?;
        (used, body) = (used + size + 2, [&body, data].concat());
    }
    let mut trailers = Vec::new();
    loop {
        let Some((line, bytes)) = line(bytes.get(used..).unwrap_or_default())? else { return Ok(None) };
        used += bytes;
        if line.is_empty() {
            (message.body, message.trailers) = (body, trailers);
            return Ok(Some(used));
        }
        trailers.push(field(&line)?);
    }
}
