"""The contract between the stages: column names, and the Arrow schemas of records and decisions (`columns`: datasets).

Both worlds read it (Spark's executors and the training ranks), so it knows neither pyspark nor torch.
"""

import pyarrow as pa

IMAGE_ID = "image_id"
SOURCE = "source"
IDENTITY = "identity"
IMAGE = "image"
LABEL = "label"
DIGEST = "digest"
SPLIT = "split"
STATUS = "status"
REASON = "reason"
GROUP_ID = "group_id"
KEEPER_ID = "keeper_id"
DISTANCE = "distance"
MEASUREMENT = "measurement"
VALUE = "value"
LIMIT = "limit"
LEFT = "left"
RIGHT = "right"
PIXEL_DIGEST = "pixel_digest"
HASH = "hash"
HASH_FLIPPED = "hash_flipped"
THUMBNAIL = "thumbnail"
EMBEDDING = "embedding"
COSINE = "cosine"
PROMINENCE = "prominence"
OWN_COSINE = "own_cosine"
OTHER_IDENTITY = "other_identity"
OTHER_COSINE = "other_cosine"
MERGED_INTO = "merged_into"
NUM_FACES = "num_faces"
FACE_BOX = "face_box"
FACE_SCORE = "face_score"
FACE_LANDMARKS = "face_landmarks"

DECODE_OK = "ok"

KEPT = "kept"
REJECTED = "rejected"
DUPLICATE = "duplicate"
CONFLICT = "conflict"
STATUSES = (KEPT, REJECTED, DUPLICATE, CONFLICT)

SPLITS = ("train", "val", "test")

# The folders of an artefact's tables: the main one; beside the decisions, those of the rows that are not kept and of
# the leaks, pictures that are in the evaluation set too.
ROWS = "rows"
REJECTED_ROWS = "rejected"
EXCLUDED_ROWS = "exclusions"
# The folders of the scores by embeddings.
FIT_ROWS = "fits"
MERGE_ROWS = "merges"
NEIGHBOUR_ROWS = "neighbours"

HASH_BITS = 256

# Everything known of a picture except its bytes; null where the picture could not be decoded.
MEASUREMENTS = pa.schema(
    [
        ("num_bytes", pa.int64()),
        ("format", pa.string()),  # read off the content, never the file name
        ("width", pa.int32()),  # after the EXIF orientation is applied
        ("height", pa.int32()),
        ("mode", pa.string()),  # Pillow's name of the stored pixels: RGB, L, CMYK, P, I;16, ...
        ("orientation", pa.int32()),  # EXIF 1..8; 1 = upright
        ("decode", pa.string()),  # "ok" or the name of the fault
        ("warnings", pa.int32()),  # faults of form that touch no pixel; 0 for other formats than JPEG
        ("blur", pa.float32()),  # variance of the Laplacian: small = blurred
        ("brightness", pa.float32()),  # mean grey level, 0..255
        ("contrast", pa.float32()),  # standard deviation of the grey levels
        ("entropy", pa.float32()),  # of the grey histogram, bits, 0..8
        ("dominance", pa.float32()),  # share of the pixels in the fullest band of three grey levels, 0..1
        (PIXEL_DIGEST, pa.binary()),  # 16 bytes that equal pictures share: of the mode, the size and every RGB pixel
        (HASH, pa.binary()),  # 256-bit DCT hash, 32 bytes
        (HASH_FLIPPED, pa.binary()),  # the same of the mirror image
        ("hash_quality", pa.float32()),  # 0..100: the amount of structure in the hashed picture
        (THUMBNAIL, pa.binary()),  # 48x48 grey levels of 0..63, row by row: a second look at pictures of close hashes
        (NUM_FACES, pa.int32()),  # null without face detection; the next three columns are of the largest face
        (FACE_BOX, pa.list_(pa.float32())),  # x, y, width, height, px
        (FACE_SCORE, pa.float32()),  # 0..1; null where the detector gives none
        # Left eye, right eye, nose, left and right corner of the mouth, as seen: x0, y0, x1, ..., px.
        (FACE_LANDMARKS, pa.list_(pa.float32())),
    ]
)

# One row per raw image. The key is (image_id, source): equal bytes may occur in two places, under two names.
RECORDS = pa.schema(
    [
        (IMAGE_ID, pa.string()),  # sha256 of the bytes as found, hex
        (SOURCE, pa.string()),  # uri; "archive.tar!/member" for containers
        (IDENTITY, pa.string()),  # the name that the source gives; null if it gives none
        *MEASUREMENTS,
        (IMAGE, pa.binary()),  # the bytes as found
    ]
)

# Pairs of pictures with close hashes, plain or of the mirror image of either, or with equal pixels, whatever their
# quality. Not every such pair is a row, but enough of them to connect every group.
PAIRS = pa.schema(
    [
        (LEFT, pa.string()),  # image_id, the smaller one
        (RIGHT, pa.string()),
        (DISTANCE, pa.int32()),  # Hamming distance, bits; 0 where the pixels are equal
    ]
)

# The embedding of each distinct picture, of unit length.
EMBEDDINGS = pa.schema([(IMAGE_ID, pa.string()), (EMBEDDING, pa.list_(pa.float32()))])

# Scores of pictures and identities by embeddings, three tables (folders) of one artefact; thresholds are applied later.
# The fit of a picture to its identity and to the nearest other one, a row per picture and identity:
FITS = pa.schema(
    [
        (IMAGE_ID, pa.string()),
        (IDENTITY, pa.string()),
        (OWN_COSINE, pa.float32()),  # to the trimmed centre of its identity
        (OTHER_IDENTITY, pa.string()),  # the other identity with the nearest centre; null if there is no other
        (OTHER_COSINE, pa.float32()),  # to that centre
    ]
)

# Identities whose centres are close: they may be one person. Left < right.
MERGES = pa.schema(
    [
        (LEFT, pa.string()),
        (RIGHT, pa.string()),
        (COSINE, pa.float32()),  # of the whitened centres
        # `score.cosine_search.prominence`: the cosine, normalised by those to the 20 nearest centres; at most 4.4
        (PROMINENCE, pa.float32()),
    ]
)

# Pairs of pictures with close embeddings, left < right by image_id; including pictures of a reference.
NEIGHBOURS = pa.schema([(LEFT, pa.string()), (RIGHT, pa.string()), (COSINE, pa.float32())])

# One row per row of RECORDS, always.
DECISIONS = pa.schema(
    [
        (IMAGE_ID, pa.string()),
        (SOURCE, pa.string()),
        (IDENTITY, pa.string()),  # as the source names it
        (MERGED_INTO, pa.string()),  # the identity after merging; null unless it was merged with others
        (STATUS, pa.string()),  # one of STATUSES
        (REASON, pa.string()),  # null when kept
        (GROUP_ID, pa.string()),  # group of duplicates: image_id of its keeper; null if alone
        (KEEPER_ID, pa.string()),  # image_id of the kept picture that this row duplicates, or of the reference
        (DISTANCE, pa.int32()),  # Hamming distance to the keeper, bits
        (LABEL, pa.int64()),  # dense within its split; null unless kept
        (SPLIT, pa.string()),  # one of SPLITS; null unless kept
    ]
)

# One row per row of DECISIONS that is not kept.
REJECTIONS = pa.schema(
    [
        (IMAGE_ID, pa.string()),
        (SOURCE, pa.string()),
        (IDENTITY, pa.string()),
        (STATUS, pa.string()),  # rejected, duplicate or conflict
        (REASON, pa.string()),
        # The decisive measurement: of a rule of cleaning, a cosine, or for a duplicate the first in which its keeper
        # differs; null where none decided.
        (MEASUREMENT, pa.string()),
        (VALUE, pa.float64()),  # of that measurement; null if it is unknown
        (LIMIT, pa.float64()),  # the limit that the value broke; for a duplicate the keeper's value
        (KEEPER_ID, pa.string()),
        (DISTANCE, pa.int32()),
    ]
)

# One row per row of REJECTIONS that shows the same as a picture of the evaluation set.
EXCLUSIONS = pa.schema(
    [
        (IMAGE_ID, pa.string()),
        (SOURCE, pa.string()),
        (KEEPER_ID, pa.string()),  # image_id of the picture of the evaluation set
        (DISTANCE, pa.int32()),  # Hamming distance to it, bits; null where only its embedding is close
        (VALUE, pa.float64()),  # the cosine to it where that decided, else null
    ]
)

# Beside the shards: which identity is which label, how many pictures it has, and in the layout `identity` where.
LABELS = pa.schema(
    [
        (SPLIT, pa.string()),
        (LABEL, pa.int64()),
        (IDENTITY, pa.string()),
        ("num_images", pa.int64()),
        ("row_group", pa.int64()),  # number of the row group, over the files of the split; null in the other layout
        ("first_row", pa.int64()),  # of that row group
    ]
)
