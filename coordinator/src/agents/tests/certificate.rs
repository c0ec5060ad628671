//! Certificates of machines that boot again.

use hyper::{Method, StatusCode};
use slipstream_shared::{
    event::StepResult,
    link::{Boot, Change, Down, EnrolAnswer, EnrolRequest, REPORT_PATH, Up},
    state::Milestone,
};

use super::{Link, enrol};
use crate::{
    pki,
    testing::{Harness, enrolment, key},
};

fn number(answer: &EnrolAnswer) -> u32 {
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(answer.certificate.as_bytes()).expect("PEM");
    pki::peer(&der).expect("an agent").certificate
}

async fn booted(harness: &Harness, good: &EnrolRequest, boot: &str, made: u64) -> EnrolAnswer {
    let request = EnrolRequest { boot: Boot { id: boot.to_owned(), made }, ..good.clone() };
    let (status, answer) = enrol(harness, &request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    serde_json::from_value(answer).expect("an answer")
}

/// Makes a change; what else is said meanwhile, such as that a report is wanted, does not matter here.
async fn made(link: &mut Link, op: u64, change: Change) {
    link.say(&Up::Do { op, change });
    loop {
        match link.hear().await.expect("the link is up") {
            Down::Done { op: done, refused } => return assert_eq!((done, refused), (op, None)),
            _ => continue,
        }
    }
}

#[tokio::test]
async fn a_machine_that_has_booted_again_gets_another_certificate_and_the_old_one_is_no_longer_good() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let (key, csr) = key();
    let good = enrolment(&context, &csr);
    let first = booted(&harness, &good, "one", 0).await;
    let renewed = booted(&harness, &good, "one", 0).await;
    assert_eq!((number(&first), number(&renewed)), (0, 0), "in the same boot both are good");
    assert_eq!(first.renew_in, Some(7 * 24 * 60 * 60 * 2 / 3));
    let mut link = Link::open(&harness, &key, &first.certificate).await;
    link.hello_of(Boot { id: "one".to_owned(), made: 0 });
    let milestone = async || run.detail().await.expect("there").nodes[0].milestone;
    let result = StepResult { exit: Some(0), ..StepResult::default() };
    for (op, change) in [(1, Change::StepFinished { index: 0, result }), (2, Change::Ready)] {
        made(&mut link, op, change).await;
    }

    assert_eq!(milestone().await, Milestone::Ready);

    let second = booted(&harness, &good, "two", 3).await;
    let again = booted(&harness, &good, "two", 3).await;
    assert_eq!((number(&second), number(&again)), (1, 1), "a lost answer is given again");
    assert_eq!(milestone().await, Milestone::Deployed, "ready is of a boot");

    let mut old = Link::open(&harness, &key, &renewed.certificate).await;
    old.hello();
    let end = old.hear().await;
    assert!(matches!(&end, Some(Down::Goodbye { retry: false, reason }) if reason.contains("booted again")), "{end:?}");
    let mut reports = harness.agent(Some((&key, &first.certificate))).await.expect("connects");
    let (status, _) = reports.call(Method::PUT, REPORT_PATH, &[], "of an earlier boot").await;
    assert_eq!(status, StatusCode::GONE);

    let mut link = Link::open(&harness, &key, &again.certificate).await;
    link.hello_of(Boot { id: "two".to_owned(), made: 3 });
    assert!(matches!(link.hear().await, Some(Down::Hello { .. })));
    assert!(matches!(link.hear().await, Some(Down::Plan(_))));
    for (op, expected) in [(3, Milestone::Deployed), (4, Milestone::Ready)] {
        made(&mut link, op, Change::Ready).await;
        assert_eq!(milestone().await, expected, "change {op}: what was ready in an earlier boot is not in this one");
    }
    harness.coordinator.stop().await;
}
