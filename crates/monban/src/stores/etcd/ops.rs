//! Requests in the words of this store.

use super::names;
use super::proto::{
    Against, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest,
    RangeRequest, RangeResponse, Request, RequestOp, Response, ResponseOp, SortOrder, SortTarget,
    TxnRequest, TxnResponse,
};

/// Nothing is at this name.
pub(super) fn absent(key: &[u8]) -> Compare {
    compare(
        key,
        CompareTarget::Create,
        CompareResult::Equal,
        Against::Create(0),
    )
}

/// What is at this name is there since this revision.
pub(super) fn since(key: &[u8], create: i64) -> Compare {
    compare(
        key,
        CompareTarget::Create,
        CompareResult::Equal,
        Against::Create(create),
    )
}

/// What is at this name has not been written since it was created.
pub(super) fn untouched(key: &[u8]) -> Compare {
    compare(
        key,
        CompareTarget::Version,
        CompareResult::Equal,
        Against::Version(1),
    )
}

/// Nothing is in this range.
pub(super) fn empty((from, to): (Vec<u8>, Vec<u8>)) -> Compare {
    Compare {
        range_end: to,
        ..absent(&from)
    }
}

/// Nothing in this range was written after a revision.
pub(super) fn unchanged((from, to): (Vec<u8>, Vec<u8>), revision: i64) -> Compare {
    let against = Against::Mod(revision + 1);
    Compare {
        range_end: to,
        ..compare(&from, CompareTarget::Mod, CompareResult::Less, against)
    }
}

fn compare(key: &[u8], target: CompareTarget, result: CompareResult, against: Against) -> Compare {
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.to_vec(),
        against: Some(against),
        range_end: Vec::new(),
    }
}

pub(super) fn put(key: &[u8], value: Vec<u8>, lease: i64) -> RequestOp {
    op(Request::Put(PutRequest {
        key: key.to_vec(),
        value,
        lease,
    }))
}

pub(super) fn delete(key: &[u8]) -> RequestOp {
    op(Request::Delete(DeleteRangeRequest { key: key.to_vec() }))
}

pub(super) fn get(key: &[u8]) -> RequestOp {
    op(Request::Range(one(key)))
}

/// The first of a line, or all of it.
pub(super) fn line(line: &[u8], limit: i64) -> RequestOp {
    op(Request::Range(line_request(line, limit)))
}

/// The last of a line that joined before a revision (0: of all).
pub(super) fn last(line: &[u8], before: i64) -> RequestOp {
    op(Request::Range(RangeRequest {
        sort_order: SortOrder::Descend.into(),
        max_create_revision: (before - 1).max(0),
        ..line_request(line, 1)
    }))
}

/// The first of a line up to the one that joined at a revision.
pub(super) fn first(line: &[u8], limit: i64, upto: i64) -> RequestOp {
    op(Request::Range(RangeRequest {
        max_create_revision: upto,
        ..line_request(line, limit)
    }))
}

pub(super) fn one(key: &[u8]) -> RangeRequest {
    RangeRequest {
        key: key.to_vec(),
        ..RangeRequest::default()
    }
}

/// As [`first`], as far as the member has it, without asking the others.
pub(super) fn first_of_the_member(line: &[u8], limit: i64, upto: i64) -> RangeRequest {
    RangeRequest {
        max_create_revision: upto,
        serializable: true,
        ..line_request(line, limit)
    }
}

fn line_request(line: &[u8], limit: i64) -> RangeRequest {
    RangeRequest {
        key: line.to_vec(),
        range_end: names::end(line),
        limit,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

pub(super) fn txn(txn: TxnRequest) -> RequestOp {
    op(Request::Txn(txn))
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// What the ranges of a transaction found, in their order.
pub(super) fn ranges(answer: TxnResponse) -> (i64, Vec<RangeResponse>) {
    let revision = answer.header.map_or(0, |header| header.revision);
    let range = |op: ResponseOp| match op.response {
        Some(Response::Range(range)) => Some(range),
        _ => None,
    };
    (
        revision,
        answer.responses.into_iter().filter_map(range).collect(),
    )
}

/// The only thing found, if anything was.
pub(super) fn only(range: Option<RangeResponse>) -> Option<KeyValue> {
    range?.kvs.into_iter().next()
}
