//! Network addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Malformed, fixed, take};

const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 3;

/// `inet` and `cidr`: an address, with the network's bits unless an `inet` has all of them.
pub(super) fn inet(mut bytes: &[u8]) -> Result<String, Malformed> {
    let [family, n_bits, is_cidr, _length] = take(&mut bytes)?;
    let (address, all) = match family {
        FAMILY_IPV4 => (Ipv4Addr::from(fixed::<4>(bytes)?).to_string(), 32),
        FAMILY_IPV6 => (ipv6(Ipv6Addr::from(fixed::<16>(bytes)?)), 128),
        _ => return Err(Malformed),
    };
    Ok(if is_cidr == 0 && n_bits == all { address } else { format!("{address}/{n_bits}") })
}

/// As PostgreSQL writes it: an address of six groups of zeros ends like an IPv4 address.
fn ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}

/// `macaddr` and `macaddr8`: `08:00:2b:01:02:03`.
pub(super) fn mac_address(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_the_server_writes_them() {
        let v6 = |address: &str| {
            let octets = address.parse::<Ipv6Addr>().unwrap().octets();
            inet(&[&[FAMILY_IPV6, 128, 0, 16], &octets[..]].concat()).unwrap()
        };
        for address in
            ["::", "::1", "::2", "1::", "::1.2.3.4", "::ffff:1.2.3.4", "::5:102:304", "2001:db8::1"]
        {
            assert_eq!(v6(address), address);
        }
        assert_eq!(inet(&[FAMILY_IPV4, 32, 0, 4, 10, 0, 0, 1]).as_deref(), Ok("10.0.0.1"));
        assert_eq!(inet(&[FAMILY_IPV4, 8, 0, 4, 10, 0, 0, 1]).as_deref(), Ok("10.0.0.1/8"));
        assert_eq!(inet(&[FAMILY_IPV4, 32, 1, 4, 10, 0, 0, 1]).as_deref(), Ok("10.0.0.1/32"));
        assert_eq!(inet(&[FAMILY_IPV4, 32, 1, 4, 10, 0, 0]), Err(Malformed));
        assert_eq!(mac_address(&[8, 0, 0x2b, 1, 2, 3]), "08:00:2b:01:02:03");
    }
}
