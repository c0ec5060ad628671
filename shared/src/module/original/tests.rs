//! Documents like those of the original's tutorial, there and back.

use super::*;
use crate::module::diff;

const SERVER: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<imageModule category="Image" parentUri="module/examples/web" shortName="server" version="87" isBase="false"
    description="A web server &amp; its page" loginUser="root" platform="ubuntu" moduleReferenceUri="module/examples/base/12"
    creation="2014-01-01 10:00:00.0 UTC" lastModified="2014-01-01 10:00:00.12 CEST" isLatestVersion="true" deleted="false">
  <authz owner="someone" ownerGet="true" publicGet="true"/>
  <commit author="someone"><comment>first try</comment></commit>
  <parameters>
    <entry><string>port</string><parameter name="port" category="Output" type="String" mandatory="true"
      description="its port"><value>8080</value><defaultValue>8080</defaultValue></parameter></entry>
    <entry><string>ready</string><parameter name="ready" category="Output" type="String" description="set when it serves"/></entry>
    <entry><string>hostname</string><parameter name="hostname" category="Output" type="String"/></entry>
    <entry><string>mode</string><parameter name="mode" category="Input" type="Enum">
      <enumValues length="2"><string>fast</string><string>safe</string></enumValues><value>safe</value></parameter></entry>
    <entry><string>pass</string><parameter name="pass" category="Input" type="Password"><value>hunter2</value></parameter></entry>
    <entry><string>cpu.nb</string><parameter name="cpu.nb" category="Cloud" type="String"><value>2</value></parameter></entry>
    <entry><string>ram.GB</string><parameter name="ram.GB" category="Cloud" type="String"><value>4</value></parameter></entry>
    <entry><string>x.instance.type</string><parameter name="x.instance.type" category="x" type="Enum"><value>small</value></parameter></entry>
  </parameters>
  <targets>
    <target name="execute">#!/bin/sh -e
echo "a &lt; b &amp;&amp; c" # &#233;
	ss-set ready true
</target>
    <target name="report"><![CDATA[#!/bin/sh
cp <x> "$SLIPSTREAM_REPORT_DIR"]]></target>
    <target name="onvmadd"/>
    <target name="strange">x</target>
  </targets>
  <packages><package name="apache2" repository="ppa:x" key=""/><package name="wget"/></packages>
  <prerecipe>echo before</prerecipe>
  <recipe></recipe>
</imageModule>"##;

const SYSTEM: &str = r#"<deploymentModule category="Deployment" parentUri="module/examples/web" shortName="system" version="90">
  <nodes>
    <entry><string>apache</string><node name="apache" imageUri="module/examples/web/server/87" multiplicity="2"
      cloudService="default" network="Public"><image><anything/></image></node></entry>
    <entry><string>testclient</string><node name="testclient" imageUri="module/examples/web/client" multiplicity="1"
      cloudService="exo" maxProvisioningFailures="1">
      <parameterMappings>
        <entry><string>webserver.port</string><parameter name="webserver.port" isMappedValue="true"><value>apache:port</value></parameter></entry>
        <entry><string>text</string><parameter name="text"><value>'it is ${free}'</value></parameter></entry>
        <entry><string>state</string><parameter name="state" isMappedValue="true"><value>ss:state</value></parameter></entry>
      </parameterMappings></node></entry>
  </nodes>
</deploymentModule>"#;

fn one(source: &str) -> Imported {
    let mut all = import(source).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn a_component_keeps_its_scripts_byte_for_byte_and_says_what_it_lost() {
    let found = one(SERVER);
    assert_eq!(
        (found.path.as_str(), found.kind, found.comment.as_str()),
        ("examples/web/server", "component", "first try")
    );
    let module = crate::module::parse(&found.text).unwrap_or_else(|p| panic!("{p:#?}\n{}", found.text));
    let component = module.component().expect("a component");
    assert_eq!(component.parent.as_ref().map(|p| p.value.to_string()).as_deref(), Some("examples/base"));
    let script = component.deploy.as_ref().expect("there");
    assert_eq!(script.text, "#!/bin/sh -e\necho \"a < b && c\" # é\n\tss-set ready true\n");
    assert!(found.text.contains("deploy: |\n"), "{}", found.text);
    assert_eq!(
        component.report.as_ref().map(|s| s.text.as_str()),
        Some("#!/bin/sh\ncp <x> \"$SLIPSTREAM_REPORT_DIR\"")
    );
    assert_eq!((component.size.cpu, component.size.ram), (Some(2), Some(4 << 30)));
    assert_eq!(component.params.keys().collect::<Vec<_>>(), ["mode", "pass", "port", "ready"]);
    assert!(component.imported && component.install.is_none());
    assert_eq!(
        found.left,
        [
            "that it uses the version 12 of `examples/base`: its newest is used",
            "the platform `ubuntu`",
            "the value of the secret `pass`: choose one at launch",
            "`x.instance.type` = `small`, which is for one cloud",
            "its script `strange`",
            "the repository `ppa:x` of the package `apache2`",
            "what others may do with it: it belongs to whoever imports it",
        ]
    );
}

#[test]
fn an_application_keeps_nodes_and_mappings() {
    let found = one(SYSTEM);
    for line in [
        "use: examples/web/server",
        "count: 2",
        "cloud: exo",
        "tolerate: 1",
        "webserver.port: \"${apache[1].port}\"",
        "text: \"it is $${free}\"",
        "start: together",
    ] {
        assert!(found.text.contains(line), "{line}\n{}", found.text);
    }
    assert_eq!(found.left.len(), 2, "{:?}", found.left);
    assert_eq!(found.left[1], "`state` of the node `testclient`: `ss:state` had no effect");
}

#[test]
fn images_and_trees_are_taken() {
    let image = r#"<imageModule category="Image" parentUri="module/" shortName="base" isBase="true" loginUser="ubuntu" platform="ubuntu">
      <cloudImageIdentifiers><cloudImageIdentifier cloudServiceName="local" cloudImageIdentifier="7"/>
      <cloudImageIdentifier cloudServiceName="ec2" region="eu" cloudImageIdentifier="ami-1"/></cloudImageIdentifiers></imageModule>"#;
    let found = one(image);
    assert!(
        found.text.contains("kind: image\nname: base\n") && found.text.contains("platform: ubuntu"),
        "{}",
        found.text
    );
    assert_eq!(found.left, ["the identifier `ami-1` for the region `eu` of `ec2`"]);
    let tree = format!(
        r#"<projectModule category="Project" parentUri="module/" shortName="all"><children><item name="x"/>{image}</children></projectModule>"#
    );
    let paths: Vec<String> = import(&tree).expect("a tree").into_iter().map(|m| m.path).collect();
    assert_eq!(paths, ["all", "base"]);
}

#[test]
fn what_is_exported_imports_as_the_same() {
    for source in [SERVER, SYSTEM] {
        let first = one(source);
        let (document, left) = export(&first.text).unwrap_or_else(|p| panic!("{p:#?}"));
        assert_eq!(left, [""; 0]);
        let second = one(&document);
        assert_eq!(diff::changes(&first.text, &second.text), Ok(vec![]), "{document}");
    }
    let rich =
        "slipstream: 1\nkind: component\nname: a\nimage: i@3\ndeploy: { run: x, within: 5m }\nready: { tcp: 80 }\n";
    let (_, left) = export(rich).expect("fine");
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn hostile_documents_are_refused() {
    let entity =
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>\n<imageModule shortName=\"a\">&e;</imageModule>";
    assert!(import(entity).expect_err("a document type").0.contains("line 1: a document type is not read"));
    for (document, told) in [
        ("<imageModule shortName=\"a\">&e;</imageModule>", "the entity `&e;` is not known"),
        ("<user name=\"x\"/>", "`user` is not a module of SlipStream"),
        ("<imageModule category=\"Image\"/>", "has no `shortName`"),
        ("<imageModule category=\"Image\" shortName=\"a b\"/>", "only letters, digits"),
        ("<imageModule", "not XML"),
        ("<imageModule>", "ends too early"),
        ("<a/><b/>", "one root"),
        ("", "ends too early"),
    ] {
        let error = import(document).expect_err(document).0;
        assert!(error.contains(told), "{document}: {error}");
    }
    let deep = "<a>".repeat(1000);
    assert!(import(&deep).expect_err("deep").0.contains("at most 64 levels"));
    let huge = format!("<a>{}</a>", "x".repeat(17 << 20));
    assert!(import(&huge).expect_err("huge").0.contains("the limit is"));
}
