-- The catalogue: the latest description of each item, and whether it is in.

-- table --
CREATE TABLE items (
    item_id      text COLLATE "C" PRIMARY KEY,
    headword     text,
    level        text COLLATE "C",         -- A1 … C2, or null
    domains      text[] COLLATE "C" NOT NULL,  -- distinct, in the order R W L S; may be empty
    described_at timestamptz,              -- of the latest ItemPublished or ItemUpdated; null: never described
    described_id uuid,
    decided_at   timestamptz NOT NULL,     -- of the latest of those and ItemArchived
    decided_id   uuid        NOT NULL,
    in_catalogue boolean     NOT NULL      -- described, and the latest of the three is no ItemArchived
);
