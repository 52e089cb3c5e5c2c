-- A small hotel. Plain SQL that PostgreSQL, MySQL and MariaDB, SQL Server and SQLite take as it is.

CREATE TABLE room_types (
    id INTEGER NOT NULL PRIMARY KEY,
    code VARCHAR(10) NOT NULL UNIQUE,
    name VARCHAR(60) NOT NULL,
    max_guests INTEGER NOT NULL,
    base_rate DECIMAL(10,2) NOT NULL
);

-- status: clean, inspected, dirty or out_of_order
CREATE TABLE rooms (
    id INTEGER NOT NULL PRIMARY KEY,
    room_number VARCHAR(10) NOT NULL UNIQUE,
    floor INTEGER NOT NULL,
    room_type_id INTEGER NOT NULL,
    status VARCHAR(20) NOT NULL,
    FOREIGN KEY (room_type_id) REFERENCES room_types (id),
    CHECK (status IN ('clean', 'inspected', 'dirty', 'out_of_order'))
);

CREATE TABLE guests (
    id INTEGER NOT NULL PRIMARY KEY,
    full_name VARCHAR(100) NOT NULL,
    email VARCHAR(100) NOT NULL UNIQUE,
    phone VARCHAR(30),
    country CHAR(2) NOT NULL
);

-- status: booked, in_house, departed, cancelled or no_show. The night of check_out is not part of the stay.
CREATE TABLE reservations (
    id INTEGER NOT NULL PRIMARY KEY,
    reference VARCHAR(40) NOT NULL UNIQUE,
    guest_id INTEGER NOT NULL,
    room_id INTEGER NOT NULL,
    check_in DATE NOT NULL,
    check_out DATE NOT NULL,
    adults INTEGER NOT NULL,
    children INTEGER NOT NULL,
    status VARCHAR(20) NOT NULL,
    nightly_rate DECIMAL(10,2) NOT NULL,
    notes VARCHAR(500),
    FOREIGN KEY (guest_id) REFERENCES guests (id),
    FOREIGN KEY (room_id) REFERENCES rooms (id),
    CHECK (status IN ('booked', 'in_house', 'departed', 'cancelled', 'no_show')),
    CHECK (check_in < check_out)
);

CREATE INDEX reservations_by_room ON reservations (room_id, check_in);
CREATE INDEX reservations_by_guest ON reservations (guest_id);

-- What a stay costs beyond its nights. category: restaurant, minibar, laundry, parking, spa or other
CREATE TABLE charges (
    id INTEGER NOT NULL PRIMARY KEY,
    reservation_id INTEGER NOT NULL,
    charged_on DATE NOT NULL,
    category VARCHAR(20) NOT NULL,
    description VARCHAR(200) NOT NULL,
    quantity INTEGER NOT NULL,
    unit_price DECIMAL(10,2) NOT NULL,
    FOREIGN KEY (reservation_id) REFERENCES reservations (id),
    CHECK (quantity > 0)
);

CREATE INDEX charges_by_reservation ON charges (reservation_id);

CREATE TABLE payments (
    id INTEGER NOT NULL PRIMARY KEY,
    reservation_id INTEGER NOT NULL,
    paid_on DATE NOT NULL,
    method VARCHAR(20) NOT NULL,
    amount DECIMAL(10,2) NOT NULL,
    FOREIGN KEY (reservation_id) REFERENCES reservations (id)
);

CREATE INDEX payments_by_reservation ON payments (reservation_id);

-- The hotel's calendar: each night that can be sold. Databases compute with dates in ways of their own; all can join.
CREATE TABLE nights (
    night DATE NOT NULL PRIMARY KEY
);
